"""Mahankali et al. 2023: one step of gradient descent is the best of one layer of linear attention."""

from workbench.claims.theory_looks import arm, claim, near, value

_PAPER = "Mahankali et al. 2023, arXiv:2307.03576"
_ONE_LAYER = {
    "model.n_layers": 1,
    "model.products": "merged",
    "train.lr": 0.01,
    "train.n_steps": 6000,
    "train.clip_norm": None,
}

MAHANKALI2023 = (
    claim(
        "mahankali2023/step",
        f"{_PAPER}, theorem 1",
        "One layer of linear attention learns one step of gradient descent",
        "in closed form the step on the sum loss is 1/(n + d + 1 + s2): .0381 for d = 5, n = 20, s2 = .25",
        arm("mahankali", "linear_regression", "mahankali"),
        {
            "step on the sum loss, within 1 % of 1/(n + d + 1 + s2) = .0381": near("mahankali_step", "sum_step", 0.01),
            "share of predictions that is one step, at least .999": value(
                "one_step", "one_step_share", lambda x: x >= 0.999
            ),
            "Gamma, relative error at most .03": value("one_step", "gamma_error", lambda x: x <= 0.03),
        },
    ),
    claim(
        "mahankali2023/preconditioned",
        f"{_PAPER}, theorem 2",
        "With w ~ N(0, Sig^-1) it learns a step preconditioned by Sig^-1",
        "Gamma = .7692 Sig^-1 for d = 5, n = 20",
        arm("white", "anisotropic_regression", "ahn", _ONE_LAYER),
        {
            "Gamma, relative error at most .03": value("one_step", "gamma_error", lambda x: x <= 0.03),
            "cosine with Sig^-1, at least .999": value("one_step", "gamma_cosine", lambda x: x >= 0.999),
        },
    ),
    claim(
        "mahankali2023/nonlinear",
        f"{_PAPER}, theorem 3",
        "On nonlinear targets it still learns one step on linear least squares",
        "in closed form .0300 on the sum loss for two-layer ReLU networks, d = 5, n = 20, s2 = .09",
        arm("relu", "nonlinear_regression", "mahankali"),
        {
            "step on the sum loss, within 2 % of .0300": near("nonlinear_step_size", "sum_step", 0.02),
            "share of predictions that is one step, at least .999": value(
                "nonlinear_step", "one_step_share", lambda x: x >= 0.999
            ),
        },
    ),
    claim(
        "mahankali2023/nonlinear-of-three",
        f"{_PAPER}, theorem 3",
        "In three dimensions and with shorter prompts too, where the swapped solution is nearer",
        "in closed form .0468 on the sum loss for two-layer ReLU networks, d = 3, n = 12, s2 = .09",
        arm(
            "relu-three",
            "nonlinear_regression",
            "mahankali",
            {"task.d_input": 3, "task.n_context": 13, "model.d_model": 4},
        ),
        {
            "step on the sum loss, within 2 % of .0468": near("nonlinear_step_size", "sum_step", 0.02),
            "share of predictions that is one step, at least .999": value(
                "nonlinear_step", "one_step_share", lambda x: x >= 0.999
            ),
        },
    ),
)
