{{ stage_platform('session_feedback') }}
