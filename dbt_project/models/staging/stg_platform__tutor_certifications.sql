{{ stage_platform('tutor_certifications') }}
