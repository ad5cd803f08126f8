{{ stage_platform('sessions') }}
