"""Pictures by one call, drawn with matplotlib: ``pip install 'gmlayers[plot]'``.

Each function takes ``ax=``, the axes to draw in, and makes a figure of its own by ``matplotlib.pyplot`` where there are
none. Each returns the axes that it drew in, so that titles, limits and ``.figure.savefig(...)`` are yours.
"""

try:
    import matplotlib as _matplotlib  # noqa: F401
except ModuleNotFoundError as _error:
    from gmlayers._names import in_a_clone as _in_a_clone

    raise ModuleNotFoundError(
        f"gmlayers.plot needs matplotlib; install it {_in_a_clone('plot')}", name="matplotlib"
    ) from _error

from gmlayers.plot._animation import animation as animation
from gmlayers.plot._components import components as components
from gmlayers.plot._domain import domain as domain
from gmlayers.plot._history import history as history
from gmlayers.plot._module import bumps as bumps
from gmlayers.plot._module import module as module
from gmlayers.plot._solution import solution as solution
from gmlayers.plot._style import COLOURS as COLOURS
