"""The schema `reporting`: its functions and views are made after each migration (`reporting`)."""

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Changes no table."""


def downgrade() -> None:
    """Changes no table."""
