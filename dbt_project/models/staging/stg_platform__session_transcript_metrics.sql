{{ stage_platform('session_transcript_metrics') }}
