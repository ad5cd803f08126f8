{{ stage_platform('subjects') }}
