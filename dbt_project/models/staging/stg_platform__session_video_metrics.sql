{{ stage_platform('session_video_metrics') }}
