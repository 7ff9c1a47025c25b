"""Times nn.LSTM of PyTorch; prints [milliseconds of training, of inference] for each shape.

python -m benchmarks._torch_lstm ROUNDS '[[20, 35, 200, 200]]'
"""

import json
import statistics
import sys
import time

import torch


def median(call, rounds):
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def main():
    rounds, shapes = map(json.loads, sys.argv[1:])
    times = []
    for batch, steps, inputs, units in shapes:
        layer = torch.nn.LSTM(inputs, units, batch_first=True)
        x = torch.randn(batch, steps, inputs, requires_grad=True)
        dy = torch.randn(batch, steps, units)

        def train(layer=layer, x=x, dy=dy):
            layer.zero_grad()
            x.grad = None
            layer(x)[0].backward(dy)

        def infer(layer=layer, x=x):
            with torch.no_grad():
                layer(x)

        times.append([median(train, rounds), median(infer, rounds)])
    print(json.dumps(times))


if __name__ == "__main__":
    main()
