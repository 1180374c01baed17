"""The part of FHIRPath that views need: parsed to a tree, compiled to closures over decoded JSON.

References
----------
FHIRPath (HL7, N1); SQL on FHIR v2, "Required FHIRPath Expressions/Functions".
"""

from __future__ import annotations

from s4s_lab.views.fhirpath.closures import Compilation, Evaluator, Scope, compile_expression
from s4s_lab.views.fhirpath.moments import Moment
from s4s_lab.views.fhirpath.parser import parse
from s4s_lab.views.fhirpath.syntax import Expression, mentions

__all__ = ["Compilation", "Evaluator", "Expression", "Moment", "Scope", "compile_expression", "mentions", "parse"]
