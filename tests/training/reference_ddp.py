"""Training as torch's own tools do it, with several processes: what ours is held against.

``python -m tests.training.reference_ddp CONFIG.json OUT.pt`` under the environment that torchrun gives.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from workbench.models import Transformer
from workbench.training.building import STORED, build_model
from workbench.training.config import RunConfig, run_config_from_data


def trained(config: RunConfig) -> Transformer:
    """The model after all updates of an ``adam`` run without schedules; every process takes its share of a batch."""
    settings, dtype = config.train, STORED[config.train.precision]
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    model = build_model(config)
    shared = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, betas=settings.betas)
    share = settings.n_batch // size
    for step in range(settings.n_steps):
        first = step * settings.n_batch + rank * share
        batch = config.task.prompts(settings.seed, "train", first, share).to(dtype=dtype)
        optimizer.zero_grad()
        loss = (shared(model.encode(batch))[:, ::2, 0] - batch.ys).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm or 1.0)
        optimizer.step()
    return model


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    model = trained(run_config_from_data(json.loads(Path(sys.argv[1]).read_text())))
    if torch.distributed.get_rank() == 0:
        torch.save(dict(model.named_parameters()), sys.argv[2])
    torch.distributed.destroy_process_group()
