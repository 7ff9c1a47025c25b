"""Times a training step of PyTorch's word_language_model; prints the milliseconds.

python -m benchmarks._torch_language_model ROUNDS BATCH WINDOW UNITS VOCABULARY

The model and the step are those of pytorch/examples/word_language_model with the flags `--tied`,
`--emsize` and `--nhid`: embedding, dropout, nn.LSTM of two layers, dropout, tied softmax; gradients
clipped to a norm of 0.25; plain SGD without an optimizer class.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vocabulary, units, dropout=0.2):
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocabulary, units)
        self.rnn = nn.LSTM(units, units, 2, dropout=dropout)
        self.decoder = nn.Linear(units, vocabulary)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens, state):
        y, state = self.rnn(self.drop(self.encoder(tokens)), state)
        logits = self.decoder(self.drop(y)).view(-1, self.decoder.out_features)
        return nn.functional.log_softmax(logits, dim=1), state


def main():
    rounds, batch, window, units, vocabulary = map(int, sys.argv[1:])
    model = Model(vocabulary, units)
    state = tuple(torch.zeros(2, batch, units) for _ in range(2))
    tokens = torch.randint(vocabulary, (window + 1, batch))
    times = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        model.zero_grad()
        output, state = model(tokens[:-1], tuple(s.detach() for s in state))
        nn.functional.nll_loss(output, tokens[1:].reshape(-1)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-0.01)
        times.append(time.perf_counter() - start)
    print(json.dumps(statistics.median(times[3:]) * 1e3))


if __name__ == "__main__":
    main()
