r"""Bumps by one matrix product per row of the projections.

With :math:`v_{kj} = A_{kj}(x - \mu_k)` for the rows :math:`j = 1 \dots p` of :math:`A_k`, and
:math:`c_{kj} = A_{kj}\mu_k`,

.. math::
    \delta v_{kj} = -\delta f_k\, f_k\, v_{kj},\qquad
    \delta c_{kj} = -\sum_n \delta v_{nkj},\qquad
    \delta A_{kj} = \sum_n \delta v_{nkj}\, x_n^\top + \delta c_{kj}\,\mu_k^\top,\qquad
    \delta\mu_k = A_k^\top\delta c_k,\qquad
    \delta x_n = \sum_{kj}\delta v_{nkj} A_{kj}.

The Laplacian :math:`\ell_k = f_k (v_k^\top G_k v_k - \mathrm{tr}\, G_k)`, :math:`G_k = A_k A_k^\top`, has two factors,
:math:`a = -(\delta f f + \delta\ell\,\ell)` and :math:`b = \delta\ell f`. With :math:`\tilde x = (x, 1)`,
:math:`\tilde A = (A, -c)`, so that :math:`v = \tilde A\tilde x`,

.. math::
    \delta v_k = a_k v_k + 2 b_k G_k v_k,\qquad
    \delta\tilde A_k = M_k(a) + 2 G_k M_k(b),\qquad
    \delta G_k = M_k(b)\tilde A_k^\top - \textstyle\sum_n b_{nk} I,\qquad
    M_{kj}(a) = \sum_n a_{nk} v_{nkj}\tilde x_n^\top,

and :math:`\delta A_k` has :math:`2\,\delta G_k A_k` besides. So all that touches the batch is two products per row j.

Everything of shape (batch, m) is contiguous, one tensor per row j: in a tensor (batch, m, p) the sums over j would be
short and slow.
"""

# Products are accumulated by `out=`, because torch's flop counter does not count `addmm_` and its like.

from __future__ import annotations

import torch
from torch import Tensor

from gmlayers.functional.normal import FAR
from gmlayers.ops._fused import Tensors
from gmlayers.ops.bumps import reference


class Bumps:
    """The bumps alone."""

    outputs = 1
    finds_values = True
    elementwise = False

    def reference(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[Tensor, ...]:
        return (reference.bumps(x, mean, projection),)

    def forward(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        rows = projected(x, mean, projection)
        square = torch.mul(rows[0], rows[0])
        for v in rows[1:]:
            square.addcmul_(v, v)
        f = square.mul_(-0.5).exp_()
        return (f,), tuple(rows)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        x, mean, projection = tensors
        assert x is not None and mean is not None and projection is not None  # noqa: PT018
        f, *rows = kept
        factor = torch.mul(grads[0], f).neg_()
        gradients = _Gradients(x, mean, projection, needs)
        for j, v in enumerate(rows):
            gradients.add(j, torch.mul(factor, v))
        return gradients.finished()


class BumpsLaplacian:
    """The bumps and their Laplacians; rows of projections are paired, so it is for small p."""

    outputs = 2
    finds_values = True
    elementwise = False

    def reference(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[Tensor, ...]:
        return reference.bumps_laplacian(x, mean, projection)

    def forward(self, x: Tensor, mean: Tensor, projection: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        rows = projected(x, mean, projection)
        gram = torch.bmm(projection, projection.mT).permute(1, 2, 0).contiguous()
        square = torch.mul(rows[0], rows[0])
        curvature = torch.addcmul(gram.diagonal().sum(1).neg_(), square, gram[0, 0])
        product = torch.empty_like(square)
        for j, v in enumerate(rows[1:], 1):
            square.add_(torch.mul(v, v, out=product))
            curvature.addcmul_(product, gram[j, j])
            for i, other in enumerate(rows[:j]):
                curvature.addcmul_(torch.mul(v, other, out=product), gram[j, i], value=2)
        f = square.mul_(-0.5).exp_()
        return (f, torch.mul(f, curvature, out=product)), (curvature, *rows)

    def backward(
        self, tensors: Tensors, kept: tuple[Tensor, ...], grads: tuple[Tensor, ...], needs: tuple[bool, ...]
    ) -> Tensors:
        x, mean, projection = tensors
        assert x is not None and mean is not None and projection is not None  # noqa: PT018
        f, _, curvature, *rows = kept
        factor = torch.addcmul(grads[0], grads[1], curvature).mul_(f)  # -a
        slope = torch.mul(grads[1], f)
        gram = torch.bmm(projection, projection.mT)
        grad_x = None
        if needs[0]:
            size = gram.diagonal(dim1=1, dim2=2).sum(1).clamp_(min=torch.finfo(gram.dtype).tiny)  # A³ is out of range
            unit = gram / size[:, None, None]
            grad_x = _onto_inputs(slope * size, rows, torch.bmm(unit, projection).mul_(2))
            grad_x -= _onto_inputs(factor, rows, projection)
        if not (needs[1] or needs[2]):
            return grad_x, None, None
        second = _moments(x, slope, rows)
        grad = torch.baddbmm(_moments(x, factor, rows), gram, second, beta=-1, alpha=2)
        grad_offset, grad_projection = grad[:, :, -1].neg(), grad[:, :, :-1].contiguous()
        if needs[2]:
            whole = torch.cat([projection, offsets(mean, projection).neg_().unsqueeze(2)], 2)
            grad_gram = torch.bmm(second, whole.mT)
            grad_gram.diagonal(dim1=1, dim2=2).sub_(slope.sum(0).unsqueeze(1))
            grad_projection = torch.baddbmm(grad_projection, grad_gram, projection, alpha=2)
        grad_mean, grad_projection = through_offsets(grad_offset, mean, projection, grad_projection, needs[1])
        return grad_x, grad_mean, grad_projection if needs[2] else None


def _moments(x: Tensor, factor: Tensor, rows: list[Tensor]) -> Tensor:
    """Return M_kj = Σ_n a_nk v_nkj x̃_nᵀ, (m, p, d + 1)."""
    wide = torch.cat([x.t(), x.new_ones(1, len(x))])
    moments = x.new_empty(len(rows), len(wide), factor.shape[1])
    for v, moment in zip(rows, moments):
        torch.mm(wide, torch.mul(factor, v), out=moment)
    return moments.permute(2, 0, 1).contiguous()


def _onto_inputs(factor: Tensor, rows: list[Tensor], projection: Tensor) -> Tensor:
    """Return Σ_kj a_nk v_nkj A_kj, (batch, d)."""
    return sum(torch.mm(torch.mul(factor, v), projection[:, j]) for j, v in enumerate(rows))  # type: ignore[return-value]


class _Gradients:
    """Gradients of x, mean and projection, from those of the projected inputs row by row."""

    def __init__(self, x: Tensor, mean: Tensor, projection: Tensor, needs: tuple[bool, ...]) -> None:
        self.x, self.mean, self.projection = x, mean, projection
        self.of_x = torch.zeros_like(x) if needs[0] else None
        self.of_projection = torch.empty_like(projection) if needs[2] else None
        self.of_offset = projection.new_empty(projection.shape[:2]) if needs[1] or needs[2] else None
        self.need_mean = needs[1]

    def add(self, j: int, grad: Tensor) -> None:
        """Take δv of row j, (batch, m)."""
        if self.of_x is not None:
            torch.addmm(self.of_x, grad, self.projection[:, j], out=self.of_x)
        if self.of_projection is not None:
            into = self.of_projection[:, j]
            if self.x.shape[1] < len(self.mean):  # a thin product is several times faster the wide way round
                into.copy_(torch.mm(self.x.t(), grad).t())
            else:
                torch.mm(grad.t(), self.x, out=into)
        if self.of_offset is not None:
            self.of_offset[:, j] = grad.sum(0).neg_()

    def finished(self) -> Tensors:
        """Return the gradients of x, mean and projection, None where not needed."""
        if self.of_offset is None:
            return self.of_x, None, None
        return self.of_x, *through_offsets(
            self.of_offset, self.mean, self.projection, self.of_projection, self.need_mean
        )


def offsets(mean: Tensor, projection: Tensor) -> Tensor:
    """Return c = A μ, (m, p)."""
    return torch.bmm(projection, mean.unsqueeze(2)).squeeze(2)


def through_offsets(
    grad: Tensor, mean: Tensor, projection: Tensor, grad_projection: Tensor | None, need_mean: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of mean and projection, given that of the offsets and the rest of the projection's."""
    grad_mean = torch.bmm(grad.unsqueeze(1), projection).squeeze(1) if need_mean else None
    if grad_projection is not None:
        torch.baddbmm(grad_projection, grad.unsqueeze(2), mean.unsqueeze(1), out=grad_projection)
    return grad_mean, grad_projection


def projected(x: Tensor, mean: Tensor, projection: Tensor) -> list[Tensor]:
    """Return v, for every row of the projections a tensor (batch, m)."""
    offset = offsets(mean, projection).t().contiguous()  # a row with strides is passed several times slower
    return [torch.mm(x, projection[:, j].t()).sub_(offset[j]).clamp_(-FAR, FAR) for j in range(projection.shape[1])]
