"""`scores judge` on a real platform: once made, it is not made again."""

import json

import pytest


@pytest.mark.long
def test_a_judged_platform_is_kept_and_a_wrong_world_is_named(project):
    asked = ("scores", "judge", "--world", "ordinary", "--tutors", "40", "--seeds", "1")
    first = json.loads(project.run(*asked, "--json").stdout)
    (row,) = first["worlds"]
    assert (row["world"], row["tutors"], row["seeds"]) == ("ordinary", 40, 1)
    assert row["rows"] > 0
    files = list((project.home / "judge").glob("*/ordinary-40-1.npz"))
    assert len(files) == 1
    made = files[0].stat().st_mtime_ns
    assert json.loads(project.run(*asked, "--json").stdout) == first
    assert files[0].stat().st_mtime_ns == made
    wrong = project.run("scores", "judge", "--world", "nowhere", status=2)
    assert "there is no world nowhere; there are ordinary" in wrong.stderr
