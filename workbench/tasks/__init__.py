"""The tasks that models are trained on, by name."""

from workbench.registry import by_name
from workbench.tasks.linear_regression import LinearRegression
from workbench.tasks.task import Task

TASKS = by_name(LinearRegression)

__all__ = ["TASKS", "LinearRegression", "Task"]
