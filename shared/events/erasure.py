"""A customer was erased: the value of `feedback.erasures`. It names nobody. Whoever keeps copies of what came on the topics has the
same pseudonym as the key of those records, and so finds what is to go."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class CustomerErased(BaseModel):
    model_config = ConfigDict(extra="allow")

    customer: str = Field(description="The key of their records on the other topics: a pseudonym, 32 hex digits.")
    workspace: str
    at: datetime = Field(description="What they said and did up to then is to go; what comes after is somebody new.")
