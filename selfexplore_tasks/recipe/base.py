"""What every section of a recipe shares."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(gt=0.0, le=1.0)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every recipe section: unknown keys are refused, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
