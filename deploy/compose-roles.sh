#!/bin/sh
# The postgres image runs this once, while its volume is still empty: our roles, with the passwords of
# deploy/.env. Later runs of roles.sql: docs/deployment.md.
set -eu
psql -X -U "$POSTGRES_USER" -d "$POSTGRES_DB" -v imports=1 -f /deploy/roles.sql
psql -X -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" <<'SQL'
\getenv pipeline PIPELINE_PASSWORD
\getenv viewer VIEWER_PASSWORD
alter role tutor_pipeline password :'pipeline';
alter role tutor_viewer password :'viewer';
SQL
