import pytest

from gmlayers.experiments.interrupts import interrupts_say, is_interrupt


def raised(how):
    """Return the error that comes out when an interrupt meets something."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            if how == "as it is":
                raise
            if how == "while it is handled":
                raise RuntimeError("cannot join a thread")  # noqa: B904
            if how == "because of it":
                raise OSError("cannot close") from interrupt
            if how == "hidden":
                raise ValueError("something else") from None
            try:
                raise RuntimeError("first")
            except RuntimeError:
                raise ValueError("second")  # noqa: B904
    except BaseException as error:
        return error


HOW = ["as it is", "while it is handled", "because of it", "hidden", "twice"]


@pytest.mark.parametrize("how", HOW)
def test_an_interrupt_is_one_whatever_it_comes_out_as(how):
    assert is_interrupt(raised(how))
    with pytest.raises(KeyboardInterrupt, match="go on so"), interrupts_say("go on so"):
        raise raised(how)


def test_other_errors_are_left_as_they_are():
    assert not is_interrupt(None)
    error = ValueError("a")
    error.__cause__ = other = ValueError("b")
    other.__cause__ = error  # a ring
    assert not is_interrupt(error)
    with pytest.raises(ValueError, match="a"), interrupts_say("go on so"):
        raise error
