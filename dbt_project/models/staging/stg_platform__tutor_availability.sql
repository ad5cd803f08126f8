{{ stage_platform('tutor_availability') }}
