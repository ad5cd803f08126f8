{{ stage_platform('session_students') }}
