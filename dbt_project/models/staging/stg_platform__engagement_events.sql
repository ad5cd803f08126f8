{{ stage_platform('engagement_events') }}
