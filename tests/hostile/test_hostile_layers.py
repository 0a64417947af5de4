"""What modules are made of and how they travel: dtypes that no layer can compute in, and pickling."""

import copy
import io
import pickle

import pytest
import torch

from gmlayers import GMNM, GMLayer
from gmlayers.functional import ACTIVATIONS, Activation, get_activation

FAMILIES = ("low_rank", "shared_factor", "diagonal", "regression", "full")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128, torch.int64, torch.bool, "float32"])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: GMLayer(3, 2, 4, dtype=dtype),
        lambda dtype: GMLayer.paper(3, 2, 4, dtype=dtype),
        lambda dtype: GMNM(3, 2, 4, dtype=dtype),
    ],
)
def test_a_dtype_that_no_layer_can_compute_in_is_refused_at_once(make, dtype):
    with pytest.raises(TypeError, match=r"dtype must be of real floating-point numbers, such as torch.float32, got "):
        make(dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_with_any_activation_travels(name, dtype):
    layer = GMLayer(8, 3, 5, activation=name, dtype=dtype)
    x = torch.randn(4, 8, dtype=dtype)
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), torch.load(buffer, weights_only=False)):
        assert torch.equal(twin(x), layer(x))
        assert twin.activation is layer.activation is get_activation(name)


def _shifted(z):
    return z - 1


def _mean(m, var):
    return m - 1


def _gate(m, var):
    return torch.ones_like(m)


def test_an_activation_of_your_own_travels_by_its_functions():
    """Also one that has the name of another."""
    own = Activation(_shifted, _mean, _gate, name="relu")
    twin = pickle.loads(pickle.dumps(own))
    assert twin == own
    assert twin is not get_activation("relu")
    assert copy.deepcopy(own) == own
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(Activation(lambda z: z, _mean, _gate))


MODULES = {
    **{family: lambda f=family: GMLayer(6, 3, 5, covariance=f) for family in FAMILIES},
    **{
        f"GMNM {form}": lambda f=form: GMNM(6, 3, 5, form=f, domain=(-9, 9))
        for form in ("mahalanobis", "diagonal", "ridge")
    },
}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # checks of shapes, which stay as they are
@pytest.mark.filterwarnings("ignore:.torch.jit.trace(_method)?. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", MODULES)
def test_what_is_traced_takes_batches_of_any_size(name):
    module = MODULES[name]()
    traced = torch.jit.trace(module, torch.randn(4, 6), check_trace=False)
    for rows in (1, 4, 9, 0):
        x = torch.randn(rows, 6)
        torch.testing.assert_close(traced(x), module(x))
