"""The key that signs links: made once, kept private, rotated without breaking what was sent."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tutor_pipeline.core import secret_keys
from tutor_pipeline.core.errors import TutorPipelineError, UsageError


def test_the_file_is_made_once_and_for_its_owner_alone(tmp_path):
    file = tmp_path / "home" / "secret_key"
    keys = secret_keys.of_file(file)
    assert len(keys) == 1
    assert len(keys[0]) >= secret_keys.SHORTEST
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret_keys.of_file(file) == keys
    assert [each.name for each in file.parent.iterdir()] == ["secret_key"]


def test_two_that_make_it_at_once_have_the_same(tmp_path):
    file = tmp_path / "secret_key"
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: secret_keys.of_file(file), range(64)))
    assert len(found) == 1


def test_a_rotation_keeps_the_one_before(tmp_path):
    file = tmp_path / "secret_key"
    (first,) = secret_keys.of_file(file)
    secret_keys.rotate(file)
    second, kept = secret_keys.of_file(file)
    assert kept == first != second
    secret_keys.rotate(file)
    third, kept = secret_keys.of_file(file)
    assert kept == second
    assert third not in (first, second)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short\n", "ü" * 40])
def test_a_file_that_holds_no_key(tmp_path, content):
    file = tmp_path / "secret_key"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(TutorPipelineError, match=str(file)):
        secret_keys.of_file(file)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TutorPipelineError, match="or set TUTOR_SECRET_KEY"):
        secret_keys.of_file(tmp_path / "file" / "secret_key")


def test_the_keys_of_a_setting():
    new, old = "n" * 32, "o" * 40
    assert secret_keys.given("") == ()
    assert secret_keys.given(f" {new} , {old},") == (new, old)
    with pytest.raises(UsageError, match="at least 32 characters") as error:
        secret_keys.given("a-secret-that-is-short")
    assert "a-secret" not in str(error.value)
