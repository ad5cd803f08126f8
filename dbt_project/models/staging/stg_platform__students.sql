{{ stage_platform('students') }}
