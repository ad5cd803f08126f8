"""What others built on a table is found through the catalog's indexes (`sql/readers.sql`)."""

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes no table: the functions are made after each migration."""


def downgrade() -> None:
    """Changes no table."""
