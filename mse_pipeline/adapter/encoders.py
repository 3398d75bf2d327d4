"""Encoders: one vector of a clip's rows of a stream, by name.

`lstm` is that of the paper and reads the state behind the last row. `attentive` and `bilstm-attentive` weigh all rows:
what is told by a pause in the middle of a clip does not have to be remembered until its end. They have at most as many
parameters as the LSTM in whose place they stand, so that a better score is not a larger model's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

_KERNEL = 5
"""Rows that a convolution reads at once."""
_LEAST_VARIANCE = 1e-5
"""Below it, the root's gradient would grow without bound: rows that hardly vary have this variance."""


class SequenceEncoder(nn.Module, ABC):
    """Rows of a stream in, one vector a clip out; what lies behind a clip's true length has no influence.

    Subclasses end with `linear`, through which their vector passes last.

    Args:
        input_dim: Values a row, D.
        summary: Width of what is known of a clip before the last layer.
        output_dim: Width of the vector.
        dropout: Share of the summary that training sets to zero.
    """

    def __init__(self, input_dim: int, summary: int, output_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self._input_dim = input_dim
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(summary, output_dim)

    def forward(self, sequence: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Read the rows before each clip's true length.

        Args:
            sequence: (B, T, D) rows, padded behind.
            lengths: (B,) true numbers of rows; 0 for a clip without this stream.

        Returns:
            (B, output_dim) float32; a zero vector where the length is 0.

        Raises:
            ValueError: The shapes do not fit together, or to the encoder.
        """
        counts = lengths.detach().to("cpu", torch.int64)
        self._check(sequence, counts)
        encoded = sequence.new_zeros((len(counts), self.linear.out_features), dtype=self.linear.weight.dtype)
        present = torch.nonzero(counts > 0).flatten()
        if not len(present):
            return encoded
        at = present.to(sequence.device)
        rows = sequence.index_select(0, at).to(self.linear.weight.dtype)
        return encoded.index_copy(0, at, self.linear(self.dropout(self._summarise(rows, counts[present]))))

    @abstractmethod
    def _summarise(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Rows (B, T, D) of which the first `counts` (B,), at least one, are true -> (B, summary)."""

    def _check(self, sequence: torch.Tensor, counts: torch.Tensor) -> None:
        dims = self._input_dim
        if sequence.ndim != 3 or sequence.shape[2] != dims:
            raise ValueError(f"The stream has shape {tuple(sequence.shape)}; the encoder reads (clips, rows, {dims}).")
        if counts.shape != sequence.shape[:1]:
            raise ValueError(
                f"{sequence.shape[0]} clips need as many lengths, but the lengths have shape {tuple(counts.shape)}."
            )
        if len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) <= sequence.shape[1]:
            raise ValueError(
                f"Lengths must be between 0 and {sequence.shape[1]}, the rows of the padded stream, but go from "
                f"{int(counts.min())} to {int(counts.max())}."
            )


class LSTMEncoder(SequenceEncoder):
    """One-directional single-layer LSTM; its last hidden state through dropout and a linear layer (arXiv 2502.12478).

    Args:
        input_dim: Values a row, D.
        hidden: Width of the LSTM.
        output_dim: Width of the vector.
        dropout: Share of the last hidden state that training sets to zero.
    """

    def __init__(self, input_dim: int, hidden: int, output_dim: int, *, dropout: float = 0.0) -> None:
        nn.Module.__init__(self)  # the LSTM's weights are drawn before those of the last layer, as they always were
        rnn = nn.LSTM(input_dim, hidden, batch_first=True)
        super().__init__(input_dim, hidden, output_dim, dropout=dropout)
        self.rnn = rnn

    def _summarise(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(rows, counts, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.rnn(packed)
        state: torch.Tensor = last[-1]
        return state


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation of each channel over the rows (Okabe et al. 2018).

    Each channel has weights of its own, ``softmax(V tanh(W h + b) + k)`` over the clip's rows (the channel-dependent
    form of Desplanques et al. 2020).

    Args:
        width: Channels a row.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, bottleneck(width)), nn.Tanh())
        self.weigh = nn.Linear(bottleneck(width), width)

    def forward(self, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, width) and (B, T), True where a row is -> (B, 2 width): means, then deviations."""
        scores = self.weigh(self.attention(rows)).masked_fill(~mask.unsqueeze(-1), -torch.inf)
        weights = scores.softmax(1)
        mean = (weights * rows).sum(1)
        variance = (weights * (rows - mean.unsqueeze(1)) ** 2).sum(1)
        return torch.cat([mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()], dim=1)


def bottleneck(width: int) -> int:
    """Inner width of the attention over `width` channels."""
    return max(1, width // 2)


class AttentiveEncoder(SequenceEncoder):
    """Two convolutions over five rows each, and attentive statistics of their channels.

    Args:
        input_dim: Values a row, D.
        hidden: Width of the LSTM in whose place it stands: it has as many channels as make no more parameters.
        output_dim: Width of the vector.
        dropout: Share of the channels, and of their statistics, that training sets to zero.

    Examples:
        >>> encoder = AttentiveEncoder(25, 64, 256)
        >>> lstm = LSTMEncoder(25, 64, 256)
        >>> sum(p.numel() for p in encoder.parameters()) <= sum(p.numel() for p in lstm.parameters())
        True
    """

    def __init__(self, input_dim: int, hidden: int, output_dim: int, *, dropout: float = 0.0) -> None:
        budget = _lstm_parameters(input_dim, hidden, output_dim)
        width = _widest(lambda w: w * (_KERNEL * (input_dim + w) + 2) + _pooled(w, output_dim), budget)
        super().__init__(input_dim, 2 * width, output_dim, dropout=dropout)
        self.first = nn.Conv1d(input_dim, width, _KERNEL, padding=_KERNEL // 2)
        self.second = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2)
        self.pool = AttentiveStatistics(width)

    def _summarise(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        mask = _mask(rows, counts)
        # Rows behind a clip's end are zeros, as those that the convolution adds behind the longest clip's.
        channels = rows
        for layer in (self.first, self.second):
            channels = torch.where(mask.unsqueeze(-1), channels, channels.new_zeros(()))
            channels = functional.gelu(layer(channels.transpose(1, 2))).transpose(1, 2)
        pooled: torch.Tensor = self.pool(self.dropout(channels), mask)
        return pooled


class BiLSTMAttentiveEncoder(SequenceEncoder):
    """An LSTM in both directions, and attentive statistics of its states.

    Args:
        input_dim: Values a row, D.
        hidden: Width of the LSTM in whose place it stands: its own are as wide as makes no more parameters.
        output_dim: Width of the vector.
        dropout: Share of the states, and of their statistics, that training sets to zero.
    """

    def __init__(self, input_dim: int, hidden: int, output_dim: int, *, dropout: float = 0.0) -> None:
        budget = _lstm_parameters(input_dim, hidden, output_dim)
        width = _widest(lambda w: 8 * w * (input_dim + w + 2) + _pooled(2 * w, output_dim), budget)
        super().__init__(input_dim, 4 * width, output_dim, dropout=dropout)
        self.rnn = nn.LSTM(input_dim, width, batch_first=True, bidirectional=True)
        self.pool = AttentiveStatistics(2 * width)

    def _summarise(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(rows, counts, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=rows.shape[1])
        pooled: torch.Tensor = self.pool(self.dropout(states), _mask(rows, counts))
        return pooled


ENCODERS: Mapping[str, type[LSTMEncoder | AttentiveEncoder | BiLSTMAttentiveEncoder]] = MappingProxyType(
    {"lstm": LSTMEncoder, "attentive": AttentiveEncoder, "bilstm-attentive": BiLSTMAttentiveEncoder}
)
"""Encoders by name."""


def _mask(rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """(B, T) bool, True before each clip's true number of rows."""
    places = torch.arange(rows.shape[1], device=rows.device)
    return places.unsqueeze(0) < counts.to(rows.device).unsqueeze(1)


def _lstm_parameters(input_dim: int, hidden: int, output_dim: int) -> int:
    return 4 * hidden * (input_dim + hidden + 2) + (hidden + 1) * output_dim


def _pooled(width: int, output_dim: int) -> int:
    """Parameters of attentive statistics over `width` channels, and of the last layer behind them."""
    inner = bottleneck(width)
    return (width + 1) * inner + (inner + 1) * width + (2 * width + 1) * output_dim


def _widest(parameters: Callable[[int], int], budget: int) -> int:
    """The largest width, at least 1, whose number of parameters is within the budget."""
    width = 1
    while parameters(width + 1) <= budget:
        width += 1
    return width
