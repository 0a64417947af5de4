import pytest

from gmlayers_studies.command import reproduce


@pytest.fixture(scope="session")
def done(tmp_path_factory):
    """The folder of a study of nets that has come to its end; it is to be left as it is."""
    folder = tmp_path_factory.mktemp("reproduce") / "fig2"
    reproduce("fig2", profile="smoke", jobs=2, out=folder)
    return folder
