"""The speed of GCC's training steps in PyTorch: `python3 tests/gcc_torch.py [STEPS]`.

Noise stands for the views, so that the images a second are those of the network and the losses alone: a ResNet-18 for images of
32 pixels, batches of 256, SGD; first the two views of the pretext phase, then the six of the graph phase.
"""

import sys
import time

import torch
import torch.nn.functional as F
import torchvision

BATCH, CLUSTERS, TAU = 256, 10, 0.1
device = "cuda" if torch.cuda.is_available() else "cpu"
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50

backbone = torchvision.models.resnet18(weights=None)
backbone.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
backbone.maxpool = backbone.fc = torch.nn.Identity()
contrast = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 128))
network = torch.nn.ModuleList([backbone, contrast, torch.nn.Linear(512, CLUSTERS)]).to(device)
optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)


def project(x):
    return F.normalize(contrast(backbone(x)))


def pretext(views):
    both = project(torch.cat(views))
    z, z_prime = both.chunk(2)
    logits = z @ torch.cat([z, z_prime]).T / TAU
    return 2 * F.cross_entropy(logits, torch.arange(BATCH, 2 * BATCH, device=device))


def graph(views):
    first, second, *neighbours, random = views
    weight = torch.full((BATCH, 1), 0.6, device=device)
    listed = [weight * project(x) for x in neighbours]
    h = backbone(torch.cat([first, second]))
    z, z_prime = F.normalize(contrast(h)).chunk(2)
    logits = z @ torch.cat([z, z_prime, *listed]).T / TAU
    eye = torch.eye(BATCH, dtype=torch.bool, device=device)
    mask = torch.cat([torch.zeros_like(eye)] + [eye] * 4, dim=1)
    omega = torch.cat([torch.ones_like(weight)] + [weight] * 3, dim=1).log()
    rgc = (logits.masked_fill(mask, -1e9).logsumexp(1) - (logits[mask].view(BATCH, 4) + omega).logsumexp(1)).mean()
    o = network[2](h[:BATCH]).softmax(1)
    r = network[2](backbone(random)).softmax(1)
    agc = F.cross_entropy(F.normalize(o.T) @ F.normalize(r.T).T, torch.arange(CLUSTERS, device=device))
    pi = o.mean(0)
    return 2 * rgc + agc + 2 * (torch.log(torch.tensor(float(CLUSTERS))) + (pi * pi.log()).sum())


def measure(name, loss, count):
    views = [torch.randn(BATCH, 3, 32, 32, device=device) for _ in range(count)]
    for step in range(steps + 5):
        if step == 5:
            started = time.perf_counter()
        optimiser.zero_grad()
        value = loss(views)
        value.backward()
        optimiser.step()
        # Reads the loss, as the program does, which also waits for the device.
        value.item()
    rate = steps * BATCH / (time.perf_counter() - started)
    print(f"PyTorch {torch.__version__} on {device}, {name}: {rate:.0f} images/s")


measure("pretext phase", pretext, 2)
measure("graph phase", graph, 6)
