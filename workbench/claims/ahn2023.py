"""Ahn et al. 2023: deep linear attention takes preconditioned steps."""

from workbench.claims.theory_looks import arm, claim, near, risk, seen_closely, value

_PAPER = "Ahn et al. 2023, arXiv:2306.00297"

AHN2023 = (
    claim(
        "ahn2023/three-steps",
        f"{_PAPER}, theorem 3 and figure 2",
        "Three layers that move labels alone take three steps A_l = a_l Sig^-1",
        "figure 2: .42, .69, 1.71 in some order (n = 20, d = 5); the best polynomial has .422, .689, 1.714",
        arm("ahn", "anisotropic_regression", "ahn"),
        {
            "smallest step, within 5 %": near("best_steps", "step_1", 0.05),
            "middle step, within 5 %": near("best_steps", "step_2", 0.05),
            "largest step, within 5 %": near("best_steps", "step_3", 0.05),
            "excess risk over that of these steps, same prompts, at most .007": value(
                "best_steps", "excess_gap", lambda x: x <= 0.007
            ),
            "first layer's distance from a multiple of Sig^-1, at most .1": value(
                "best_steps", "layer_1_distance", lambda x: x <= 0.1
            ),
            "second layer's": value("best_steps", "layer_2_distance", lambda x: x <= 0.1),
            "third layer's": value("best_steps", "layer_3_distance", lambda x: x <= 0.1),
        },
    ),
    claim(
        "ahn2023/gd-plus-plus",
        f"{_PAPER}, theorem 4 and figure 4",
        "Three layers that move inputs too take steps of GD++, with B_l = b_l I",
        "figure 4: b_0 about .90, b_1 about .56; final losses 6.4e-4 to 8.2e-4 (n = 20, d = 5)",
        arm("ahn-pp", "anisotropic_regression", "ahn_gd_plus_plus"),
        {
            "excess risk, at most 1e-3": risk("best_gd_plus_plus", lambda x: x <= 1e-3),
            "first layer's eta, within 10 % of .377": near("best_gd_plus_plus", "layer_1_eta", 0.1),
            "first layer's gamma, within 10 % of .343": near("best_gd_plus_plus", "layer_1_gamma", 0.1),
            "second layer's eta, within 10 % of 2.41": near("best_gd_plus_plus", "layer_2_eta", 0.1),
            "second layer's gamma, within 10 % of 1.36": near("best_gd_plus_plus", "layer_2_gamma", 0.1),
        },
        look=seen_closely,
    ),
)
