"""The synthetic platform: it draws the hidden truth first, and then observations from it.

Belongs here: hidden traits and burnout, the sessions and records that follow from them, writing
them to the platform and truth schemas or to CSV.
Does not belong here: any rule, threshold or scorer. They are evaluated on this population.
"""

from tutor_pipeline.sources.synthetic.generator import generate
from tutor_pipeline.sources.synthetic.parameters import Parameters
from tutor_pipeline.sources.synthetic.population import Population

__all__ = ["Parameters", "Population", "generate"]
