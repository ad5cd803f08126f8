{{ stage_platform('student_progress') }}
