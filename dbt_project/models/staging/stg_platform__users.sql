{{ stage_platform('users') }}
