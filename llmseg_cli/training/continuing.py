"""What a training loop has to keep to go on exactly, and going on from it."""

from typing import TYPE_CHECKING, Any

from llmseg_cli.artifacts.run_files import STATE
from llmseg_cli.training.checkpoints import load_into, load_state, refused_state
from llmseg_cli.training.optimizers import load_optimizer

if TYPE_CHECKING:
    from llmseg_cli.training.loop import Loop


def state_of(loop: "Loop") -> dict[str, Any]:
    """All of it but the random states, which `save_state` adds."""
    return {
        "step": loop.step,
        "learner": loop.learner.state_dict(),
        "optimizer": loop.optimizer.state_dict(),
        "scaler": loop.scaler.state_dict(),
        "averages": {name: net.state_dict() for name, net in loop.averages.items()},
        "plateau": loop.plateau.state_dict() if loop.plateau else None,
        "losses": loop.losses,
        "score": loop.final_score,
        "steps": loop.steps,
        "used_s": loop.clock.used_s if loop.clock else None,
        "best": list(loop.best) if loop.best else None,
    }


def go_on_from_state(loop: "Loop") -> None:
    """Continue from the saved state, if there is one.

    Raises:
        ArtifactError: If it is damaged, or of another run.
    """
    path = loop.folder / STATE
    if not path.exists():
        return
    state = load_state(path, loop.device)
    loop.ranks.draw_as_first(state["random"], loop.device)
    with refused_state(path):
        load_into(loop.learner, state["learner"], source=str(path))  # type: ignore[arg-type]
        load_optimizer(loop.optimizer, state["optimizer"])
        loop.scaler.load_state_dict(state["scaler"])
        for name, average in loop.averages.items():
            load_into(average, state["averages"][name], source=str(path))
        if loop.plateau:
            loop.plateau.load_state_dict(state.get("plateau") or {})
        if not 0 <= state["step"] <= loop.last_step:
            raise ValueError(f"step {state['step']} of {loop.steps}")
        if loop.clock:
            loop.clock.start(float(state.get("used_s") or 0.0))
            loop.steps = max(state["step"], int(state.get("steps") or 0))
        value, at = state["best"] or (0.0, 0)
    loop.best = (value, int(at)) if state["best"] else None
    loop.step = state["step"]
    loop.losses = state.get("losses", {})
    loop.final_score = state.get("score")
