{{ stage_platform('tutor_subjects') }}
