"""SequenceEncoder: a stream of any length becomes one vector."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class SequenceEncoder(nn.Module):
    """One-directional single-layer LSTM; its last hidden state through dropout and a linear layer.

    Args:
        input_dim: Values a row, D.
        hidden: Width of the LSTM.
        output_dim: Width of the vector.
        dropout: Share of the last hidden state that training sets to zero.
    """

    def __init__(self, input_dim: int, hidden: int, output_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.rnn = nn.LSTM(input_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(hidden, output_dim)

    def forward(self, sequence: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Read the rows before each clip's true length; what lies behind it has no influence.

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
        rows = present.to(sequence.device)
        packed = pack_padded_sequence(
            sequence.index_select(0, rows).to(self.linear.weight.dtype),
            counts[present],
            batch_first=True,
            enforce_sorted=False,
        )
        _, (last, _) = self.rnn(packed)
        return encoded.index_copy(0, rows, self.linear(self.dropout(last[-1])))

    def _check(self, sequence: torch.Tensor, counts: torch.Tensor) -> None:
        dims = self.rnn.input_size
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
