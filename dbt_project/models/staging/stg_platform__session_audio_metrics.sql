{{ stage_platform('session_audio_metrics') }}
