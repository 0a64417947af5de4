"""Attention whose scores are mixtures of Gaussians."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gmlayers._arguments import (
    check_device,
    check_dtype,
    check_generator,
    check_tensors,
    got,
    is_dense,
    no_tensor,
    share,
)
from gmlayers._names import brief_value, check_size, flag, look_up, positive
from gmlayers.functional.attention import mixture_attention
from gmlayers.nn._drawing import draws
from gmlayers.nn._precision import check_input, result_dtype, upcast

Keys = Literal["shift", "full"]

BLOCK = 256
"""A block of queries has so many of them. Blocks are for masks that torch's kernel cannot make itself."""

ALIGNED = 8
"""Kernels of GPUs take heads whose size is a multiple of this number."""


class KeyValueCache:
    """The keys and values of tokens that were seen before, which a model that writes one token after another keeps.

    Each layer needs one of its own.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMAttention
        >>> from gmlayers.nn import KeyValueCache
        >>> attention, cache = GMNMAttention(8, 2, batch_first=True).eval(), KeyValueCache()
        >>> x = torch.randn(1, 5, 8)
        >>> parts = [attention(x[:, i : i + 1], is_causal=True, cache=cache)[0] for i in range(5)]
        >>> torch.allclose(torch.cat(parts, 1), attention(x, is_causal=True)[0], atol=1e-6), cache.length
        (True, 5)
    """

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    @property
    def length(self) -> int:
        """The number of tokens in it."""
        return 0 if self.keys is None else self.keys.shape[1]

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take in keys and values, (batch, tokens, ...), and return all that are there.

        Raises:
            ValueError: for those of another batch or of another layer, or of several dtypes or devices.
            TypeError: for what is no tensor.
        """
        check_tensors("KeyValueCache.extend", keys=keys, values=values)
        if keys.ndim < 2 or keys.shape[:2] != values.shape[:2]:
            raise ValueError(
                f"KeyValueCache.extend: expected keys and values of one batch and as many tokens, got "
                f"{tuple(keys.shape)} and {tuple(values.shape)}"
            )
        if self.keys is not None and self.values is not None:
            pairs = (keys, self.keys), (values, self.values)
            alike = all(new.shape[:1] + new.shape[2:] == old.shape[:1] + old.shape[2:] for new, old in pairs)
            if not alike or keys.dtype != self.keys.dtype or keys.device != self.keys.device:
                raise ValueError(
                    f"KeyValueCache: it holds keys of shape {tuple(self.keys.shape)} and {self.keys.dtype}, got "
                    f"{tuple(keys.shape)} and {keys.dtype}; take one for every layer, and a new one for another batch"
                )
            keys, values = torch.cat([self.keys, keys], 1), torch.cat([self.values, values], 1)
        self.keys, self.values = keys, values
        return keys, values


class _Given(NamedTuple):
    """What a call is about, with a batch axis that comes first."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    batched: bool
    """True if there was a batch axis."""


class _Read(NamedTuple):
    """Queries, keys, and values as torch's kernel takes them: all heads of one size, keys once for every component."""

    query: Tensor
    """Queries, (batch, heads, L, e)."""
    key: Tensor
    """Keys, (batch, heads, S R, e), those of a token side by side."""
    value: Tensor
    """Values, (batch, heads, S R, e), with zeros after the first numbers."""


class GMNMAttention(nn.Module):
    r"""Attention whose scores are mixtures of Gaussians around the keys: a mixture module as attention.

    .. math::

        s_{ij} = \sum_r \pi_r \exp\Bigl(-\frac{\|q_i - k_{jr}\|^2}{2\sigma_r^2}\Bigr), \qquad
        y_i = \sum_j \frac{s_{ij}}{\sum_l s_{il}}\, v_j

    after Lu et al. (2025, C7); the scores with fixed widths are those of Nguyen et al. (ICML 2022). Each head has
    widths σ and weights π of its own, which are learned.

    With one component the score is a scaled dot product with a bias of the key, as ‖q‖² falls out of the quotient:

    .. math:: \log s_{ij} = \frac{\langle q_i, k_j\rangle - \frac12 \|k_j\|^2}{\sigma^2} + \text{the same for all } j

    With several it is the softmax over all pairs of a key and a component, for which torch's fused attention serves as
    well: keys have a further coordinate for their bias, and one for ‖q‖². No tensor of queries times keys is made.

    Args:
        embed_dim: size of queries and of the output.
        num_heads: number H of heads; embed_dim is a multiple of it.
        components: number R of components of a score.
        keys: what the components of a key are. ``"shift"``: :math:`k_{jr} = k_j + b_r`, which costs next to nothing;
            ``"full"``: a projection of its own for each.
        num_key_heads: number of heads of keys and values, each of which serves H / num_key_heads heads of queries; as
            many as there are heads of queries by default.
        dropout: rate of dropout of the pairs of a key and a component; of keys, where weights are asked for.
        bias: whether the projections have a bias.
        kdim: size of keys, embed_dim by default.
        vdim: size of values, embed_dim by default.
        batch_first: whether inputs are (batch, tokens, size), and not (tokens, batch, size) as in torch.
        device: where the parameters live.
        dtype: floating dtype of the parameters.

    Shape:
        - query: (L, batch, embed_dim), or (batch, L, embed_dim) with ``batch_first``; without a batch (L, embed_dim).
        - key, value: (S, batch, kdim), (S, batch, vdim) and so on. By default the key is the query, and the value the
          key.
        - output: as the query; and weights, (batch, L, S), or None.

    The parameters are those of ``q_proj``, ``k_proj``, ``v_proj`` and ``out_proj``, the widths ``std`` σ (key heads,
    R), ``shift`` b (key heads, R, head size) and ``weight_logits``, whose softmax is π, (key heads, R). The last two
    are None for one component. Stds are squared, so that their sign does not matter; they and shifts are not to be
    decayed, which :func:`gmlayers.parameter_groups` sees to.

    Raises:
        ValueError: sizes below 1, heads that do not divide, wrong inputs or masks.
        TypeError: a size that is not a whole number, an input that is not floating point.

    Example:
        >>> import torch
        >>> from gmlayers import GMNMAttention
        >>> attention = GMNMAttention(64, 4, components=2, batch_first=True)
        >>> y, _ = attention(torch.randn(8, 20, 64), is_causal=True)
        >>> y.shape
        torch.Size([8, 20, 64])
    """

    shift: Tensor | None
    weight_logits: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        components: int = 1,
        keys: Keys = "shift",
        num_key_heads: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        name = "GMNMAttention"
        check_dtype(f"{name}: dtype", dtype)
        check_device(f"{name}: device", device)
        self.embed_dim, self.num_heads = (
            positive(f"{name}: embed_dim", embed_dim),
            positive(f"{name}: num_heads", num_heads),
        )
        self.components = positive(f"{name}: components", components)
        self.keys: Keys = look_up("kind of keys", keys, {"shift": "shift", "full": "full"})
        self.num_key_heads = (
            self.num_heads if num_key_heads is None else positive(f"{name}: num_key_heads", num_key_heads)
        )
        self.kdim = self.embed_dim if kdim is None else positive(f"{name}: kdim", kdim)
        self.vdim = self.embed_dim if vdim is None else positive(f"{name}: vdim", vdim)
        self.dropout, bias = share(f"{name}: dropout", dropout), flag(f"{name}: bias", bias)
        self.batch_first = flag(f"{name}: batch_first", batch_first)
        for what, number, of in (
            ("embed_dim", self.embed_dim, "num_heads"),
            ("num_heads", self.num_heads, "num_key_heads"),
        ):
            divisor = getattr(self, of)
            if number % divisor:
                raise ValueError(f"{name}: {what} must be a multiple of {of}, got {number} and {divisor}")
        self.head_dim = self.embed_dim // self.num_heads
        heads, R, d = self.num_key_heads, self.components, self.head_dim
        check_size(f"{name}: embed_dim, components", [(self.embed_dim, self.embed_dim), (heads, R, d)])
        own = {"bias": bias, "device": device, "dtype": dtype}
        self.q_proj = nn.Linear(self.embed_dim, self.embed_dim, **own)
        self.k_proj = nn.Linear(self.kdim, heads * d * (R if self.keys == "full" else 1), **own)
        self.v_proj = nn.Linear(self.vdim, heads * d, **own)
        self.out_proj = nn.Linear(self.embed_dim, self.embed_dim, **own)
        empty = torch.empty(heads, R, d, device=device, dtype=dtype)
        self.std = nn.Parameter(torch.empty_like(empty[..., 0]))
        several = self.components > 1
        self.shift = nn.Parameter(empty) if several and self.keys == "shift" else None
        self.weight_logits = nn.Parameter(torch.empty_like(empty[..., 0])) if several else None
        self.reset_parameters()

    @draws
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        r"""Draw the projections uniformly as torch's attention does, set stds to :math:`d^{1/4}` and biases to 0.

        So one component begins as scaled dot products with biases of the keys, for heads of size d. Shifts are drawn
        from :math:`N(0, 1/\sqrt d)`, so that components lie about one width apart; their weights are equal.

        Args:
            generator: source of randomness; torch's global one by default.

        Raises:
            RuntimeError: if a parameter is parametrized, pruned or normed; what is drawn here would be computed away.
        """
        check_generator("GMNMAttention.reset_parameters: generator", generator, self.std.device)
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            if linear.bias is not None:
                linear.bias.zero_()
        self.std.fill_(self.head_dim**0.25)
        if self.shift is not None:
            self.shift.normal_(0, self.head_dim**-0.25, generator=generator)
        if self.weight_logits is not None:
            self.weight_logits.zero_()

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the queries read, and the weights by which they do.

        The arguments have the order and the meaning that they have in ``nn.MultiheadAttention``, but for two: weights
        are not returned unless they are asked for, since they take the memory of queries times keys, and ``is_causal``
        is no hint but a mask.

        Args:
            query: see the class.
            key: by default the query.
            value: by default the key.
            key_padding_mask: (batch, S), True for keys to leave out, or numbers to add to the logarithms of scores.
            need_weights: whether to return weights.
            attn_mask: (L, S) or (batch · H, L, S), True where a query may not look, or numbers to add.
            average_attn_weights: whether weights are means over heads, (batch, L, S), or (batch, H, L, S).
            is_causal: a query looks at its own token and at those before it, the last of which are the queries.
            cache: keys and values of tokens before these, which it takes in.

        A query that may look nowhere reads 0: its output is the bias of the last projection.

        Raises:
            ValueError: shapes that do not fit, another dtype or device.
            TypeError: an input that is no dense tensor of floating-point numbers.
        """
        given = self._given(query, key, value, key_padding_mask, attn_mask, cache)
        is_causal, need_weights = flag("is_causal", is_causal), flag("need_weights", need_weights)
        average = flag("average_attn_weights", average_attn_weights)
        q, k, v = self._projected(given, cache)
        if not need_weights:
            return self._out(self._fused(q, k, v, given.mask, is_causal=is_causal), given.batched), None
        y, weights = self._with_weights(q, k, v, given.mask, is_causal=is_causal)
        weights = weights.mean(1) if average else weights
        return self._out(y, given.batched), weights if given.batched else weights.squeeze(0)

    def _given(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        padding: Tensor | None,
        mask: Tensor | None,
        cache: KeyValueCache | None,
    ) -> _Given:
        """Return what a call is about, checked before the cache takes anything in."""
        key = query if key is None else key
        batched, (query, key, value) = self._batch_first(query, key, key if value is None else value)
        for name, one in (("key_padding_mask", padding), ("attn_mask", mask)):
            _check_mask(name, one, query)
        if cache is not None and not isinstance(cache, KeyValueCache):
            raise TypeError(f"GMNMAttention: cache must be a KeyValueCache, got {brief_value(cache)}")
        padding = padding if padding is None or batched else padding.unsqueeze(0)
        tokens = key.shape[1] + (0 if cache is None else cache.length)
        return _Given(query, key, value, self._mask(query, tokens, padding, mask), batched)

    def _projected(self, given: _Given, cache: KeyValueCache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, (batch, heads, tokens, size), with those that a cache holds."""
        q = self.q_proj(given.query).unflatten(-1, (self.num_heads, -1))
        k, v = self.k_proj(given.key), self.v_proj(given.value)
        k, v = (t.unflatten(-1, (self.num_key_heads, -1)) for t in (k, v))
        k, v = (k, v) if cache is None else cache.extend(k, v)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def _out(self, y: Tensor, batched: bool) -> Tensor:
        """Return the output, its axes as those of the query, for what heads have read, (batch, heads, L, size)."""
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if not batched:
            return y.squeeze(0)
        return y if self.batch_first else y.transpose(0, 1)

    def _batch_first(self, *inputs: Tensor) -> tuple[bool, list[Tensor]]:
        """Return whether there was a batch axis, and the inputs as (batch, tokens, size)."""
        query, key, value = inputs
        for name, x, size in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if not is_dense(x):
                raise no_tensor(f"GMNMAttention: the {name}", x)
            if x.ndim not in (2, 3) or x.ndim != query.ndim or x.shape[-1] != size:
                order = "batch, tokens" if self.batch_first else "tokens, batch"
                raise ValueError(
                    f"GMNMAttention: expected a {name} of shape ({order}, {size}) or (tokens, {size}), and query, key "
                    f"and value with as many axes, got {', '.join(str(tuple(t.shape)) for t in inputs)}"
                )
            check_input(f"GMNMAttention: {name}", x, size, self.q_proj.weight)
        batched = query.ndim == 3
        first = [
            x if batched and self.batch_first else x.transpose(0, 1) if batched else x.unsqueeze(0) for x in inputs
        ]
        q, k, v = first
        if not q.shape[0] == k.shape[0] == v.shape[0] or k.shape[1] != v.shape[1]:
            raise ValueError(
                f"GMNMAttention: query, key and value must be of one batch, and key and value of as many tokens, got "
                f"{', '.join(str(tuple(t.shape)) for t in inputs)} with batch_first={self.batch_first}"
            )
        return batched, first

    def _mask(self, query: Tensor, S: int, padding: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """Return what both masks say, (batch or 1, H or 1, L or 1, S): True where to look, or numbers to add."""
        batch, heads, L = query.shape[0], self.num_heads, query.shape[1]
        dtype = result_dtype(query)
        found = None
        if padding is not None:
            if padding.shape != (batch, S):
                raise ValueError(
                    f"GMNMAttention: expected a key_padding_mask of shape {(batch, S)}, got {tuple(padding.shape)}"
                )
            found = _allowed(padding, dtype)[:, None, None, :]
        if mask is None:
            return found
        if mask.shape not in ((L, S), (batch * heads, L, S)):
            raise ValueError(
                f"GMNMAttention: expected an attn_mask of shape {(L, S)} or {(batch * heads, L, S)}, got "
                f"{tuple(mask.shape)}"
            )
        own = _allowed(mask if mask.ndim == 2 else mask.unflatten(0, (batch, heads)), dtype)
        return own if found is None else _both(own, found)

    def _components(self, k: Tensor) -> Tensor:
        """Return the keys of all components, (batch, key heads, S, R, d)."""
        if self.keys == "full":
            return k.unflatten(-1, (self.components, self.head_dim))
        return k.unsqueeze(-2) if self.shift is None else k.unsqueeze(-2) + self.shift.unsqueeze(1).to(k.dtype)

    def _log_weight(self) -> Tensor:
        """Return log π, (key heads, R)."""
        std = upcast(self.std)
        return torch.zeros_like(std) if self.weight_logits is None else upcast(self.weight_logits).log_softmax(-1)

    def _read(self, q: Tensor, k: Tensor, v: Tensor) -> _Read:
        """Return what torch's kernel takes: its dot products are the logarithms of the scores, but for a share of q."""
        keys = self._components(k)
        precision = upcast(self.std).square().reciprocal()
        bias = self._log_weight().unsqueeze(1) - 0.5 * precision.unsqueeze(1) * upcast(keys).square().sum(-1)
        scaled = precision[:, None, :, None].to(keys.dtype) * keys
        queries, further = [q], [*_exactly(bias, q.dtype)]
        ones = torch.ones_like(q[..., :1])
        own = [ones] * len(further)
        if self.components > 1:  # where widths differ, so does what ‖q‖² adds
            power = _exactly(upcast(q).square().sum(-1), q.dtype)
            spread = -0.5 * (precision - precision.mean(-1, keepdim=True)).to(q.dtype)
            further += [spread[:, None, :].expand(bias.shape)] * len(power)
            own += [part.unsqueeze(-1) for part in power]
        query = torch.cat(queries + own, -1)
        key = torch.cat([scaled, torch.stack(further, -1)], -1).flatten(2, 3)
        value = v.repeat_interleave(self.components, 2) if self.components > 1 else v
        empty = -query.shape[-1] % ALIGNED if q.device.type == "cuda" else 0
        size = query.shape[-1] + empty
        query, key = (F.pad(t, (0, empty)) if empty else t for t in (query, key))
        value = F.pad(value, (0, size - value.shape[-1]))  # or the kernel would make a matrix of queries times keys
        group = self.num_heads // self.num_key_heads
        return _Read(query, *(t.repeat_interleave(group, 1) if group > 1 else t for t in (key, value)))

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool) -> Tensor:
        """Return what is read, (batch, H, L, d), by torch's fused attention."""
        L, S, R = q.shape[2], k.shape[2], self.components
        if not S:
            return torch.zeros_like(q)
        if q.dtype == torch.float16:  # which has no squares of numbers over 255
            mask = mask if mask is None or mask.dtype == torch.bool else mask.float()
            return self._fused(q.float(), k.float(), v.float(), mask, is_causal=is_causal).to(q.dtype)
        read, rate = self._read(q, k, v), self.dropout if self.training else 0.0
        if not is_causal or L <= 1:  # the last token sees all
            mask = mask if mask is None or R == 1 else mask.repeat_interleave(R, -1)
            y = F.scaled_dot_product_attention(*read, mask, rate, scale=1.0)
            return y[..., : self.head_dim]
        if R == 1 and mask is None and L == S:
            return F.scaled_dot_product_attention(*read, None, rate, True, scale=1.0)[..., : self.head_dim]
        parts = []
        for start in range(0, L, BLOCK):
            stop = min(start + BLOCK, L)
            seen = max(0, S - L + stop)
            allowed = _causal(start, stop, seen, S - L, q.device)
            allowed = allowed if mask is None else _both(allowed, _rows(mask, start, stop)[..., :seen])
            key, value = (t[:, :, : seen * R] for t in (read.key, read.value))
            allowed = allowed.repeat_interleave(R, -1) if R > 1 else allowed
            query = read.query[:, :, start:stop]
            parts.append(F.scaled_dot_product_attention(query, key, value, allowed, rate, scale=1.0))
        return torch.cat(parts, 2)[..., : self.head_dim]

    def _with_weights(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Return what is read, and the weights, (batch, H, L, S), in plain operations."""
        L, S, group = q.shape[2], k.shape[2], self.num_heads // self.num_key_heads
        keys, values = self._components(k).repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if is_causal:
            allowed = _causal(0, L, S, S - L, q.device)
            mask = allowed if mask is None else _both(allowed, mask)
        if mask is not None:
            mask = mask.expand(q.shape[0], self.num_heads, L, S)
            mask = mask if mask.dtype == torch.bool else upcast(mask)
        std, log_weight = (t.repeat_interleave(group, 0) for t in (upcast(self.std), self._log_weight()))
        y, weights = mixture_attention(upcast(q), upcast(keys), upcast(values), std, log_weight, mask)
        if self.training and self.dropout:
            weights = F.dropout(weights, self.dropout)
            y = weights @ upcast(values)
        return y.to(q.dtype), weights.to(q.dtype)

    def explain(
        self,
        queries: int,
        keys: int | None = None,
        *,
        is_causal: bool = False,
        masked: bool = False,
        need_weights: bool = False,
    ) -> str:
        """Return in one line how so many queries and keys are computed, and what that makes.

        Args:
            queries: L.
            keys: S, as many by default.
            is_causal: as in :meth:`forward`.
            masked: whether there are masks.
            need_weights: as in :meth:`forward`.

        Example:
            >>> from gmlayers import GMNMAttention
            >>> GMNMAttention(64, 4).explain(4096, is_causal=True)
            "a dot product with a bias of the key: torch's fused attention, once, no matrix of queries times keys"
        """
        queries = positive("explain: queries", queries)
        keys, R = queries if keys is None else positive("explain: keys", keys), self.components
        is_causal, masked = flag("explain: is_causal", is_causal), flag("explain: masked", masked)
        need_weights = flag("explain: need_weights", need_weights)
        what = (
            "a dot product with a bias of the key"
            if R == 1
            else f"a softmax over {keys * R:,} pairs of key and component"
        )
        if need_weights:
            made = f"{queries:,} x {keys:,} x {R} x {self.head_dim}"
            return f"{what}: plain operations, with a tensor of {made} numbers a head"
        causal = is_causal and queries > 1
        once = not causal or (R == 1 and not masked and queries == keys)
        if once:
            matrix = f"a mask of {queries:,} x {keys * R:,}" if masked else "no matrix of queries times keys"
            return f"{what}: torch's fused attention, once, {matrix}"
        blocks = math.ceil(queries / BLOCK)
        matrix = f"a mask of {BLOCK} x {keys * R:,} at a time"
        return f"{what}: torch's fused attention for {blocks} blocks of {BLOCK} queries, {matrix}"

    def extra_repr(self) -> str:
        """Return the arguments of the constructor."""
        return (
            f"{self.embed_dim}, {self.num_heads}, components={self.components}, keys={self.keys!r}, "
            f"num_key_heads={self.num_key_heads}, dropout={self.dropout:g}, batch_first={self.batch_first}"
        )


def _check_mask(name: str, mask: Tensor | None, like: Tensor) -> None:
    """Raise unless a mask is a dense tensor of booleans or floating-point numbers on the device of the query."""
    if mask is None:
        return
    is_bool = isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.layout is torch.strided
    if not is_dense(mask) and not (is_bool and not mask.is_nested):
        raise TypeError(
            f"GMNMAttention: {name} must be a dense tensor of booleans, True where not to look, or of numbers to add, "
            f"got {got(mask)}"
        )
    if mask.device != like.device:
        raise ValueError(f"GMNMAttention: {name} must be on {like.device}, where the query is, got {mask.device}")


def _exactly(t: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Return numbers of a dtype whose sum is the tensor: in half precision there are two, as one would lose digits."""
    whole = t.to(dtype)
    return [whole] if whole.dtype == t.dtype else [whole, (t - whole.to(t.dtype)).to(dtype)]


def _allowed(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask of torch's attention as its kernels take it, in which True is where to look."""
    return ~mask if mask.dtype == torch.bool else mask.to(dtype)


def _both(one: Tensor, other: Tensor) -> Tensor:
    """Return what two masks say together."""
    if one.dtype == other.dtype == torch.bool:
        return one & other
    if other.dtype == torch.bool:
        one, other = other, one
    return other.masked_fill(~one, -torch.inf) if one.dtype == torch.bool else one + other


def _causal(start: int, stop: int, keys: int, before: int, device: torch.device) -> Tensor:
    """Return which keys each of the queries from start to stop sees, if so many tokens came before the first."""
    rows = torch.arange(start + before, stop + before, device=device)
    return torch.arange(keys, device=device) <= rows.unsqueeze(1)


def _rows(mask: Tensor, start: int, stop: int) -> Tensor:
    """Return the rows of a mask that may have one row for all queries."""
    return mask if mask.shape[-2] == 1 else mask[..., start:stop, :]
