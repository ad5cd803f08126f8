{{ stage_platform('session_billing') }}
