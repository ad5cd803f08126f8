{{ stage_platform('session_screen_metrics') }}
