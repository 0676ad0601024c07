"""Networks with one signature: (x [B,T,F], lengths [B], state) → (y [B,T,K], state).

As in the exported file, x holds raw values and y real units or probabilities: standardisation, embedding of categories
and head are part of the network.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from training.arrays import Floats, Lengths, States
from training.net.encoder import Encoder
from training.net.heads import Head

State = dict[str, Tensor]  # name → [batch, …]; names as in the file, without `state.`


class Network(nn.Module):
    """Encoder, cell, head. A subclass is a cell: `hidden_values` and `state_shapes`."""

    cell: str
    streamable = True  # whether a step depends on earlier steps only
    added: Sequence[int] = ()  # input column that is added to each of the K outputs: the head learns the difference

    def __init__(self, encoder: Encoder, head: Head, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each state of one row."""
        return {}

    def zero_state(self, batch: int) -> State:
        """Return zero states [batch, …] on the network's device."""
        like = self.head.linear.weight
        return {name: like.new_zeros((batch, *shape)) for name, shape in self.state_shapes.items()}

    def hidden_values(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the inputs of the head [B,T,H], and the state after each row's last step."""
        raise NotImplementedError

    def forward(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance each row of x by its own length."""
        h, next_state = self.hidden_values(x, lengths, state)
        y = self.head(h)
        return y + x[..., self.added] if self.added else y, next_state

    def wanted(self, x: Tensor, answers: Tensor) -> Tensor:
        """Return what the head has to give [B,T,M]: the answers, or their differences from the `added` columns."""
        return answers - x[..., self.added].detach() if self.added else answers

    @torch.no_grad()
    def run(self, x: Floats, lengths: Lengths, state: Mapping[str, Floats] | None = None) -> tuple[Floats, States]:
        """Run arrays x [B,T,F] as an exported file is run, from the zero state by default."""
        start = self.zero_state(len(x)) if state is None else {name: torch.from_numpy(v) for name, v in state.items()}
        y, after = self(torch.from_numpy(x), torch.from_numpy(lengths).long(), start)
        return y.numpy(), {name: value.numpy() for name, value in after.items()}


class Feedforward(Network):
    """`layers` of rectified linear units, each step on its own. There is no state."""

    cell = "feedforward"

    def __init__(self, encoder: Encoder, head: Head, *, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(encoder, head, dropout)
        widths = [encoder.width, *[hidden] * layers]
        self.linears = [nn.Linear(into, out) for into, out in pairwise(widths)]
        self.layers = nn.ModuleList(self.linears)  # registers the parameters

    def hidden_values(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See Network."""
        z = self.encoder(x)
        for linear in self.linears:
            z = self.dropout(linear(z).relu())
        return z, {}


CELLS: Mapping[str, tuple[type[nn.RNN | nn.GRU | nn.LSTM], str]] = {  # module, letters of its states
    "rnn": (nn.RNN, "h"),  # Elman 1990, tanh
    "gru": (nn.GRU, "h"),  # Cho 2014, cuDNN form: the reset gate is applied after the matrix product
    "lstm": (nn.LSTM, "hc"),  # Hochreiter & Schmidhuber 1997, with the forget gate of Gers 2000
}


class Recurrent(Network):
    """Fused cell of torch with `layers` layers; dropout between layers and before the head."""

    def __init__(
        self,
        encoder: Encoder,
        head: Head,
        *,
        cell: str,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        forget_bias: float = 0.0,
    ) -> None:
        super().__init__(encoder, head, dropout)
        self.cell, self.streamable = cell, not bidirectional
        module, self.letters = CELLS[cell]
        self.recurrent = module(
            encoder.width,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        for name, value in self.recurrent.named_parameters():
            if cell == "lstm" and name.startswith("bias_ih"):  # [4H], gates in the order i, f, g, o
                value.data[hidden : 2 * hidden] += forget_bias

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """States `h0, c0, h1, c1, …`; a bidirectional network has none."""
        if not self.streamable:
            return {}
        H, L = self.recurrent.hidden_size, self.recurrent.num_layers
        return {f"{letter}{layer}": (H,) for layer in range(L) for letter in self.letters}

    def hidden_values(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """See Network."""
        layers = range(self.recurrent.num_layers)
        if self.streamable:
            initial = tuple(torch.stack([state[f"{letter}{layer}"] for layer in layers]) for letter in self.letters)
        else:
            initial = (x.new_zeros(2 * len(layers), len(x), self.recurrent.hidden_size),) * 2
        steps, final = self._run(self.encoder(x), lengths, initial)  # each [L, B, H]
        next_state = {name: final[self.letters.index(name[0])][int(name[1:])] for name in self.state_shapes}
        return self.dropout(steps), next_state

    def _run(self, z: Tensor, lengths: Tensor, initial: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        T = z.shape[1]
        start = initial if len(self.letters) > 1 else initial[0]
        if bool((lengths == T).all()):  # no packing: the faster kernel
            steps, final = self.recurrent(z, start)
        else:
            packed = pack_padded_sequence(z, lengths.cpu(), batch_first=True, enforce_sorted=False)
            steps, final = self.recurrent(packed, start)
            steps = pad_packed_sequence(steps, batch_first=True, total_length=T)[0]
        return steps, final if len(self.letters) > 1 else (final,)
