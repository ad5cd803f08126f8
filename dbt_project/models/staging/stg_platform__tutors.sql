{{ stage_platform('tutors') }}
