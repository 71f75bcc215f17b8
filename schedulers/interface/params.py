"""Every parameter, described once.

A class's signature is its schema: each constructor (and step) argument is annotated with one of
the aliases below, and the config, its validation, the control on the page and the documentation
all follow from signature and annotation.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from ..backend.checks import check_choice, shown
from ..backend.errors import ParameterError, ParameterTypeError

Kind = Literal["float", "int", "bool", "choice", "numbers", "object"]
Group = Literal["scheduler", "noise schedule", "spacing", "stochasticity", "prediction"]


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number; the open ends are excluded. ``inf`` allows infinite values."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    inf: bool = False

    def admits(self, value: float) -> bool:
        """Whether the value lies inside."""
        if math.isnan(value) or (math.isinf(value) and not self.inf):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        """The interval in mathematical notation."""
        left = "(" if self.low_open or math.isinf(self.low) else "["
        right = ")" if self.high_open or math.isinf(self.high) else "]"
        return f"{left}{self.low:g}, {self.high:g}{right}"


@dataclass(frozen=True, slots=True)
class MayBeEmpty:
    """A list without entries is a value."""


@dataclass(frozen=True, slots=True)
class Slider:
    """How a control shows the number: its reach, its step, and whether it is logarithmic."""

    low: float
    high: float
    step: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class About:
    """What a parameter is for, in a sentence; its group on the page; its unit."""

    text: str
    group: Group
    advanced: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a scheduler, ready for validation, documentation or a control.

    Attributes:
        name: As in the signature.
        default: As in the signature.
        kind: "float", "int", "bool", "choice", "numbers" (a list of floats, or of integers if
            ``whole``), or "object": a function where ``function``, else None only.
        optional: Whether None is a value.
        range: Hard bounds of a number.
        slider_low: Lowest value a slider shows.
        slider_high: Highest value a slider shows.
        slider_step: Step of the slider.
        log: Whether the slider is logarithmic.
        choices: Allowed values of a choice.
        unit: Unit, empty for pure numbers.
        text: What it does, in a sentence.
        group: Where it stands on the page.
        advanced: Whether it is rarely needed.
        call: "init" for the constructor, "step" for the step call.
        whole: Whether a list holds integers; one that is empty by default may be empty.
        function: Whether a function is taken.
        may_be_empty: Whether a list may be empty.
    """

    name: str
    default: Any
    kind: Kind
    optional: bool
    range: Range
    slider_low: float | None
    slider_high: float | None
    slider_step: float | None
    log: bool
    choices: tuple[str, ...]
    unit: str
    text: str
    group: Group
    advanced: bool
    call: Literal["init", "step"]
    whole: bool = False
    function: bool = False
    may_be_empty: bool = False

    @property
    def low(self) -> float | None:
        """Hard lower bound, None if there is none."""
        return None if math.isinf(self.range.low) else self.range.low

    @property
    def high(self) -> float | None:
        """Hard upper bound, None if there is none."""
        return None if math.isinf(self.range.high) else self.range.high

    def check(self, value: Any) -> Any:
        """The value in plain Python types.

        Raises:
            TypeError: The value has the wrong type.
            ValueError: The value is out of range, not finite, or not among the choices.
        """
        if value is None and self.optional:
            return None
        if self.kind == "bool":
            if isinstance(value, (bool, np.bool_)):
                return bool(value)
            raise ParameterTypeError(
                f"{self.name}={shown(value)} must be True or False.", self.name
            )
        if self.kind == "choice":
            return check_choice(self.name, value, self.choices, self.optional)
        if self.kind == "numbers":
            return self._check_numbers(value)
        if self.kind == "object":
            if self.function and callable(value):
                return value
            allowed = "a function or None" if self.function else "None"
            raise ParameterTypeError(f"{self.name}={shown(value)} must be {allowed}.", self.name)
        return self._check_number(value)

    def _check_number(self, value: Any) -> int | float:
        number = _scalar(value)
        wanted = "an integer" if self.kind == "int" else "a number"
        if isinstance(number, (bool, np.bool_)) or not isinstance(number, Real):
            raise ParameterTypeError(
                f"{self.name}={shown(value)} must be {wanted} in {self.range}.", self.name
            )
        try:
            inside = self.range.admits(float(number))
        except OverflowError:
            inside = False
        if not inside:
            raise ParameterError(
                f"{self.name}={shown(value)} must be {wanted} in {self.range}.", self.name
            )
        if self.kind == "int":
            if not isinstance(number, Integral) and not float(number).is_integer():
                raise ParameterTypeError(
                    f"{self.name}={shown(value)} must be an integer in {self.range}.", self.name
                )
            return int(float(number)) if not isinstance(number, Integral) else int(number)
        # A float stays what was passed (int or float), so that config files keep their spelling.
        return int(number) if isinstance(number, Integral) else float(number)

    def _check_numbers(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise ParameterTypeError(
                f"{self.name}={shown(value)} must be a list or array of numbers.", self.name
            )
        try:
            numbers = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise ParameterTypeError(
                f"{self.name} must be a list or array of numbers: {error}.", self.name
            ) from error
        may_be_empty = self.may_be_empty or _empty(self.default)
        if numbers.ndim != 1 or (numbers.size == 0 and not may_be_empty):
            raise ParameterError(
                f"{self.name} has shape {numbers.shape}; it must be one-dimensional, not empty.",
                self.name,
            )
        for i, number in enumerate(numbers):
            if not self.range.admits(float(number)):
                raise ParameterError(
                    f"{self.name}[{i}]={number:g} must lie in {self.range}.", self.name
                )
            if self.whole and number % 1:
                raise ParameterError(f"{self.name}[{i}]={number:g} must be an integer.", self.name)
        if self.whole:
            return [int(number) for number in numbers]
        # A copy: what the caller does with its own list is no matter of ours.
        return value.copy() if isinstance(value, (list, np.ndarray)) else numbers.tolist()


def _empty(value: Any) -> bool:
    return isinstance(value, list) and not value


def _scalar(value: Any) -> Any:
    """A number out of a zero-dimensional array or tensor; anything else as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value


# --- the descriptions -------------------------------------------------------------------------

#: Noise levels whose squares float32 can still hold.
_SIGMA = Range(1e-12, 1e12)
_SPACING_TEXT = (
    "Where the N steps lie among the T training steps: linspace from end to end, leading every "
    "T/N counted up from 0, trailing every T/N counted down from the last."
)
_CURVE = "Spreads the steps along a curve of its own (choose one at most). "

NumTrainTimesteps = Annotated[
    int,
    Range(1, 100_000),
    Slider(10, 4000, 10),
    About(
        "Number T of training steps, from almost clean to noise.", "noise schedule", True, "steps"
    ),
]
BetaStart = Annotated[
    float,
    Range(0.0, 1.0, high_open=True),
    Slider(1e-5, 1e-2, 1e-5, log=True),
    About("First beta: the noise variance that the first training step adds.", "noise schedule"),
]
BetaEnd = Annotated[
    float,
    Range(0.0, 2.0, low_open=True),
    Slider(1e-3, 0.1, 1e-4, log=True),
    About("Last beta: the noise variance that the last training step adds.", "noise schedule"),
]
_BETA_SCHEDULE = About(
    "How beta grows from the first to the last training step; Stable Diffusion uses "
    "scaled_linear.",
    "noise schedule",
)
BetaSchedule = Annotated[Literal["linear", "scaled_linear", "squaredcos_cap_v2"], _BETA_SCHEDULE]
BetaScheduleDDPM = Annotated[
    Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"], _BETA_SCHEDULE
]
BetaScheduleHeun = Annotated[
    Literal["linear", "scaled_linear", "squaredcos_cap_v2", "exp"], _BETA_SCHEDULE
]
TrainedBetas = Annotated[
    np.ndarray | list[float] | None,
    Range(0.0, 1.0, low_open=True, high_open=True),
    About(
        "Your own betas, one for each training step, in place of a named schedule.",
        "noise schedule",
        True,
    ),
]
TimestepValues = Annotated[
    list[int] | None,
    Range(0, 99_999),
    About(
        "Custom training times of every run, strictly descending, as the first versions of "
        "diffusers had them; set_timesteps then takes their number. Kept out of the config "
        "unless given; today's set_timesteps(timesteps=...) says the same for one run.",
        "spacing",
        True,
        "steps",
    ),
]
RescaleBetasZeroSnr = Annotated[
    bool,
    About(
        "Rescales the betas so that the last training step is pure noise (zero terminal SNR); "
        "lets a model draw very dark and very bright images.",
        "noise schedule",
    ),
]
TimestepSpacing = Annotated[
    Literal["linspace", "leading", "trailing"], About(_SPACING_TEXT, "spacing")
]
StepsOffset = Annotated[
    int,
    Range(0, 100_000),
    Slider(0, 10, 1),
    About("Added to every time of the leading spacing.", "spacing", True, "training steps"),
]
UseKarrasSigmas = Annotated[
    bool | None,
    About(_CURVE + "Karras: even in sigma^(1/7), many steps at low noise.", "spacing"),
]
UseExponentialSigmas = Annotated[
    bool | None, About(_CURVE + "Exponential: even in log sigma.", "spacing")
]
UseBetaSigmas = Annotated[
    bool | None,
    About(_CURVE + "Beta: quantiles of Beta(0.6, 0.6), dense at both ends.", "spacing"),
]
UseLuLambdas = Annotated[
    bool | None, About(_CURVE + "Lu: even in log-SNR over the whole table.", "spacing")
]
UseFlowSigmas = Annotated[
    bool | None,
    About("For models trained on straight paths (rectified flow): alpha = 1 - sigma.", "spacing"),
]
FlowShift = Annotated[
    float,
    Range(1e-6, 1e6),
    Slider(0.1, 10, 0.1),
    About(
        "Moves the flow's steps towards high noise (above 1) or low noise (below 1).", "spacing"
    ),
]
UseDynamicShifting = Annotated[
    bool,
    About(
        "Takes the shift from set_timesteps(mu=...), as pipelines give it by image size.",
        "spacing",
        True,
    ),
]
TimeShiftType = Annotated[
    Literal["exponential", "linear"],
    About(
        "How mu, which pipelines find from the image size, becomes a shift: exp(mu). Configs of "
        "flow schedulers may say linear, which goes without mu.",
        "spacing",
        True,
    ),
]
TimeShiftTypeFlow = Annotated[
    Literal["exponential", "linear"],
    About(
        "How mu, which pipelines find from the image size, becomes a shift: exp(mu), or mu itself.",
        "spacing",
        True,
    ),
]
_MU = "Read by pipelines, which draw a line through both ends to find mu for an image's size."
BaseShift = Annotated[
    float | None,
    Range(-50.0, 50.0),
    Slider(0.1, 2, 0.01),
    About(f"mu of the smallest image. {_MU}", "spacing", True),
]
MaxShift = Annotated[
    float | None,
    Range(-50.0, 50.0),
    Slider(0.1, 3, 0.01),
    About(f"mu of the largest image. {_MU}", "spacing", True),
]
BaseImageSeqLen = Annotated[
    int,
    Range(1, 10**7),
    Slider(16, 4096, 16),
    About(f"Size of the smallest image. {_MU}", "spacing", True, "tokens"),
]
MaxImageSeqLen = Annotated[
    int,
    Range(1, 10**7),
    Slider(256, 16384, 16),
    About(f"Size of the largest image. {_MU}", "spacing", True, "tokens"),
]
InvertSigmas = Annotated[
    bool,
    About(
        "For models that count from data: sigma is then the share of data, and the model returns "
        "x0 - eps.",
        "spacing",
        True,
    ),
]
ShiftTerminal = Annotated[
    float | None,
    Range(0.0, 1.0, high_open=True),
    Slider(0.01, 0.5, 0.01),
    About("Stretches the sigmas so that the last one above 0 becomes this.", "spacing", True),
]
StochasticSampling = Annotated[
    bool,
    About(
        "Each step goes to the predicted clean sample and back with fresh noise.", "stochasticity"
    ),
]
ScaleFactors = Annotated[
    list[float] | None,
    Range(1e-6, 1e4),
    MayBeEmpty(),
    About(
        "Grows the sample as it goes: its height and width in the first step, times the k-th factor, "
        "are those of the clean sample that step k predicts; one factor fewer than steps.",
        "scheduler",
        True,
    ),
]
UpscaleMode = Annotated[
    Literal["nearest", "linear", "bilinear", "bicubic", "trilinear", "area", "nearest-exact"]
    | None,
    About("How predictions are interpolated where scale_factors are given.", "scheduler", True),
]
FinalSigmasType = Annotated[
    Literal["zero", "sigma_min"],
    About("Where the last step ends: at no noise, or at the smallest trained sigma.", "spacing"),
]
LambdaMinClipped = Annotated[
    float,
    Range(-math.inf, 20.0, inf=True),
    Slider(-10, 5, 0.1),
    About(
        "Leaves out training steps whose log(alpha/sigma) lies below this; "
        "about -5.1 helps with the cosine schedule.",
        "spacing",
        True,
    ),
]
SigmaMin = Annotated[
    float | None,
    _SIGMA,
    Slider(0.001, 1.0, 0.001, log=True),
    About("Smallest sigma of the Karras, exponential or beta curve.", "spacing", True),
]
SigmaMax = Annotated[
    float | None,
    _SIGMA,
    Slider(1.0, 200.0, 0.1, log=True),
    About("Largest sigma of the Karras, exponential or beta curve.", "spacing", True),
]
TimestepType = Annotated[
    Literal["discrete", "continuous"],
    About(
        "Whether the model is told the training step or, with v_prediction, 0.25 log sigma.",
        "spacing",
        True,
    ),
]
InterpolationType = Annotated[
    Literal["linear", "log_linear"],
    About("How sigmas between training steps are found.", "spacing", True),
]
_PREDICTION = About(
    "What the model returns: the noise (epsilon), the clean sample, or the velocity between "
    "them. Must match the model's training.",
    "prediction",
)
PredictionType = Annotated[Literal["epsilon", "sample", "v_prediction"], _PREDICTION]
PredictionTypeFlow = Annotated[
    Literal["epsilon", "sample", "v_prediction", "flow_prediction"], _PREDICTION
]
ClipSample = Annotated[
    bool,
    About(
        "Cuts the predicted clean sample to a range at every step; right for pixels.", "prediction"
    ),
]
ClipSampleRange = Annotated[
    float,
    Range(0.0, 1e6, low_open=True),
    Slider(0.1, 5, 0.1),
    About(
        "clip_sample cuts the predicted clean sample at plus and minus this.", "prediction", True
    ),
]
Thresholding = Annotated[
    bool,
    About(
        "Dynamic thresholding: clips the predicted clean sample at a quantile of its own "
        "values. For pixels, not for latents.",
        "prediction",
    ),
]
DynamicThresholdingRatio = Annotated[
    float,
    Range(0.0, 1.0),
    Slider(0.5, 1, 0.005),
    About("The quantile that dynamic thresholding clips at.", "prediction", True),
]
SampleMaxValue = Annotated[
    float,
    Range(1.0, 1e6),
    Slider(1, 5, 0.1),
    About("Dynamic thresholding clips no further out than this.", "prediction", True),
]
SetAlphaToOne = Annotated[
    bool,
    About("Whether the last step ends clean, or at the first training level.", "spacing", True),
]
SkipPrkSteps = Annotated[
    bool,
    About(
        "Starts with multistep steps of growing order (PLMS) instead of three Runge-Kutta steps "
        "of four calls each.",
        "scheduler",
    ),
]
SetAlphaToOneInverse = Annotated[
    bool,
    About("Whether a run starts clean, or at the first training level.", "spacing", True),
]
VarianceTypeDDPM = Annotated[
    Literal[
        "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned",
        "learned_range",
    ],
    About(
        "Variance of the noise each step adds: the posterior's (small), beta (large), or one "
        "that the model predicts.",
        "stochasticity",
    ),
]  # fmt: skip
VarianceTypeSolver = Annotated[
    Literal[
        "fixed_small",
        "fixed_small_log",
        "fixed_large",
        "fixed_large_log",
        "learned",
        "learned_range",
    ]
    | None,
    About(
        "A learned variance in the model's output is cut off; the fixed ones of DDPM configs "
        "change nothing.",
        "prediction",
        True,
    ),
]
SolverOrder = Annotated[
    int,
    Range(1, 3),
    Slider(1, 3, 1),
    About(
        "How many predictions a step combines. With small steps a higher order is more exact; 2 "
        "is usual with guidance, 3 without.",
        "scheduler",
    ),
]
SolverOrderCosine = Annotated[
    int,
    Range(1, 2),
    Slider(1, 2, 1),
    About("How many predictions a step combines.", "scheduler"),
]
AlgorithmType = Annotated[
    Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"],
    About(
        "What is carried on from step to step: the noise prediction, or (++) the clean one; with "
        "sde, fresh noise is added.",
        "scheduler",
    ),
]
LowerOrderFinalSinglestep = Annotated[
    bool,
    About(
        "Ends with calls of lower order where a whole group of calls would not fit.", "scheduler"
    ),
]
AlgorithmTypeSinglestep = Annotated[
    Literal["dpmsolver", "dpmsolver++", "sde-dpmsolver++"],
    About(
        "Carries on the noise prediction, or (++) the clean one; with sde, fresh noise is added.",
        "scheduler",
    ),
]
AlgorithmTypeDEIS = Annotated[
    Literal["deis"],
    About("This class has one form; the names of other classes mean it, too.", "scheduler", True),
]
SolverTypeDEIS = Annotated[
    Literal["logrho"],
    About(
        "Predictions are interpolated in log(sigma/alpha); the names of other classes mean it, too.",
        "scheduler",
        True,
    ),
]
PredictorOrder = Annotated[
    int,
    Range(1, 4),
    Slider(1, 4, 1),
    About("How many predictions a step combines.", "scheduler"),
]
CorrectorOrder = Annotated[
    int,
    Range(1, 4),
    Slider(1, 4, 1),
    About(
        "How many predictions the correction of a step combines, the new one included.",
        "scheduler",
    ),
]
AlgorithmTypeSA = Annotated[
    Literal["data_prediction", "noise_prediction"],
    About("Whether the data or the noise prediction is interpolated.", "scheduler"),
]
TauFunc = Annotated[
    Callable[[float], float] | None,
    About(
        "Fresh noise at a training step: 0 is none, 1 as much as DDPM. Without a function it is "
        "1 from t = 200 to 800 and 0 elsewhere. A function is not written to a config file.",
        "stochasticity",
        True,
    ),
]
SolverTypeUniPC = Annotated[
    Literal["bh1", "bh2"],
    About(
        "How a low-order step weighs the change between predictions: by its length h (bh1) or by "
        "exp(h) - 1 (bh2). From order 3 on both are the same.",
        "scheduler",
    ),
]
PredictX0 = Annotated[
    bool,
    About("Whether the data or the noise prediction is interpolated.", "scheduler"),
]
DisableCorrector = Annotated[
    list[int],
    Range(0, 100_000),
    About(
        "Positions of the steps whose result is not corrected afterwards; the first few, where "
        "large guidance misleads the corrector.",
        "scheduler",
        True,
        "steps",
    ),
]
SolverP = Annotated[
    None,
    About(
        "In diffusers another scheduler may predict; here only None is taken.", "scheduler", True
    ),
]
LowerOrderFinalAlways = Annotated[
    bool, About("Lowers the order over the last steps of every run.", "scheduler")
]
SolverType = Annotated[
    Literal["midpoint", "heun"],
    About(
        "How order 2 counts the change between predictions: as at the middle of the step, or over all of it.",
        "scheduler",
    ),
]
LowerOrderFinal = Annotated[
    bool,
    About("In runs below 15 steps, ends with lower orders: these do not overshoot.", "scheduler"),
]
EulerAtFinal = Annotated[
    bool,
    About("Takes the last step at order 1; some models leave specks without it.", "scheduler"),
]
VeSigmaMin = Annotated[
    float,
    _SIGMA,
    Slider(0.001, 1, 0.001, log=True),
    About("Smallest noise level.", "noise schedule"),
]
VeSigmaMax = Annotated[
    float,
    _SIGMA,
    Slider(1, 200, 1, log=True),
    About("Largest noise level.", "noise schedule"),
]
SigmaData = Annotated[
    float,
    _SIGMA,
    Slider(0.05, 2, 0.01, log=True),
    About(
        "Standard deviation of the data that the network was built for; it scales input and output.",
        "prediction",
    ),
]
SigmaScheduleEdm = Annotated[
    Literal["karras", "exponential"],
    About(
        "How the levels run from the largest to the smallest: Karras, or even in log sigma.",
        "spacing",
    ),
]
Rho = Annotated[
    float,
    Range(0.5, 100.0),
    Slider(1, 15, 0.1),
    About("Curvature of the Karras schedule: higher puts more steps at low noise.", "spacing"),
]
_PREDICTION_EDM = About(
    "What the network returns: EDM's scaled mixture F of noise and data (epsilon), -F "
    "(v_prediction), or the clean sample (sample).",
    "prediction",
)
PredictionTypeEdmEuler = Annotated[Literal["epsilon", "v_prediction"], _PREDICTION_EDM]
PredictionTypeEdm = Annotated[Literal["epsilon", "sample", "v_prediction"], _PREDICTION_EDM]
AlgorithmTypeEdm = Annotated[
    Literal["dpmsolver++", "sde-dpmsolver++"],
    About("Carries on the clean prediction; with sde, fresh noise is added.", "scheduler"),
]
SdeSigmaMax = Annotated[
    float,
    _SIGMA,
    Slider(1, 5000, 1, log=True),
    About(
        "Largest noise level; about the largest distance between two training samples.",
        "noise schedule",
    ),
]
SamplingEps = Annotated[
    float,
    Range(0.0, 1.0, low_open=True, high_open=True),
    Slider(1e-5, 0.1, 1e-5, log=True),
    About("The time of the last call; a run starts at time 1 and heads for 0.", "spacing", True),
]
BetaMin = Annotated[
    float,
    Range(0.0, 100.0, low_open=True),
    Slider(0.01, 10, 0.01, log=True),
    About("How fast noise comes in at time 0, next to the data.", "noise schedule"),
]
BetaMax = Annotated[
    float,
    Range(0.0, 100.0, low_open=True),
    Slider(1, 50, 0.1),
    About("How fast noise comes in at time 1, next to pure noise.", "noise schedule"),
]
OriginalInferenceSteps = Annotated[
    int,
    Range(1, 100_000),
    Slider(10, 200, 1),
    About(
        "Steps of the solver that the model was distilled from; a run visits some of its times.",
        "spacing",
        unit="steps",
    ),
]
TimestepScaling = Annotated[
    float,
    Range(1e-6, 1e6),
    Slider(0.1, 20, 0.1),
    About(
        "How soon, with growing time, the prediction is taken as it is instead of mixed with the "
        "sample.",
        "prediction",
        True,
    ),
]
EtaTcd = Annotated[
    float,
    Range(0.0, 1.0),
    Slider(0, 1, 0.01),
    About(
        "How far a step goes beyond its target before fresh noise leads it back up: 0 not at all "
        "(deterministic), 1 all the way to the data. The paper calls it gamma.",
        "stochasticity",
    ),
]
ClipDenoised = Annotated[
    bool, About("Clips the predicted clean sample to -1..1 at every step.", "prediction")
]
Snr = Annotated[
    float,
    Range(0.0, 1e3),
    Slider(0, 0.5, 0.01),
    About(
        "Length of a corrector step: how its move compares with the noise it adds.",
        "stochasticity",
    ),
]
CorrectSteps = Annotated[
    int,
    Range(0, 100),
    Slider(0, 5, 1),
    About("Corrector calls at each level, each of which asks the model.", "scheduler"),
]
SNoise = Annotated[
    float,
    Range(0.0, 1e3),
    Slider(0.9, 1.1, 0.001),
    About("Factor on the added noise; slightly above 1 counters lost detail.", "stochasticity"),
]
NoiseSamplerSeed = Annotated[
    int | None,
    Range(0, 2**63 - 1),
    Slider(0, 1000, 1),
    About(
        "Seed of the Brownian path that all noise of a run is taken from, whatever the generator; "
        "without it the generator draws the path.",
        "stochasticity",
        True,
    ),
]
SChurn = Annotated[
    float,
    Range(0.0, 1e6),
    Slider(0, 100, 0.5),
    About(
        "How much noise is added and removed again over the run; stops growing at "
        "(sqrt(2) - 1) times the number of steps.",
        "stochasticity",
    ),
]
STmin = Annotated[
    float,
    Range(0.0, inf=True),
    Slider(0, 10, 0.01),
    About("Churn only at or above this sigma.", "stochasticity", True),
]
STmax = Annotated[
    float,
    Range(0.0, inf=True),
    Slider(0, 200, 0.1),
    About("Churn only at or below this sigma.", "stochasticity", True),
]
Eta = Annotated[
    float,
    Range(0.0, 1.0),
    Slider(0, 1, 0.01),
    About(
        "Fresh noise per step: 0 is deterministic DDIM, 1 is as random as DDPM.", "stochasticity"
    ),
]
AncestralEta = Annotated[
    float,
    Range(0.0, 1.0),
    Slider(0, 1, 0.01),
    About(
        "Share of each step that is fresh noise: 0 is deterministic, 1 fully ancestral.",
        "stochasticity",
    ),
]
FlowEta = Annotated[
    float,
    Range(-1e6, 1e6),
    Slider(0, 1, 0.01),
    About(
        "How far each step goes beyond its level before noise leads back up: 0 is deterministic, 1 "
        "fully ancestral. Upstream takes any number.",
        "stochasticity",
    ),
]
FlowSNoise = Annotated[
    float,
    Range(-1e6, 1e6),
    Slider(0.9, 1.1, 0.001),
    About("Factor on the added noise; none is added at 0 or below.", "stochasticity"),
]
AdaptiveOrder = Annotated[
    int,
    Range(2, 3),
    Slider(2, 3, 1),
    About(
        "Order of the step that is taken, and its number of calls; one order less judges it.",
        "scheduler",
    ),
]
RTol = Annotated[
    float,
    Range(1e-6, 1e3),
    Slider(0.001, 1, 0.001, log=True),
    About(
        "Error that a step may make, as a share of the sample; smaller takes more calls.",
        "scheduler",
    ),
]
ATol = Annotated[
    float,
    Range(1e-6, 1e3),
    Slider(0.0001, 1, 0.0001, log=True),
    About(
        "Error that a step may make where the sample is small; smaller takes more calls.",
        "scheduler",
    ),
]
HInit = Annotated[
    float,
    Range(1e-4, 100.0),
    Slider(0.01, 1, 0.01, log=True),
    About("Length of the first step that is tried, in log sigma.", "scheduler", True),
]
_GAIN = (
    "How strongly {} changes the length of the next step (one of three gains of a PID controller)."
)
PCoeff = Annotated[
    float,
    Range(-10.0, 10.0),
    Slider(0, 1, 0.01),
    About(_GAIN.format("the change of the error"), "scheduler", True),
]
ICoeff = Annotated[
    float,
    Range(1e-3, 10.0),
    Slider(0.01, 2, 0.01),
    About(_GAIN.format("the error itself"), "scheduler", True),
]
DCoeff = Annotated[
    float,
    Range(-10.0, 10.0),
    Slider(0, 1, 0.01),
    About(_GAIN.format("the change of that change"), "scheduler", True),
]
AcceptSafety = Annotated[
    float,
    Range(0.25, 1.0),
    Slider(0.3, 1, 0.01),
    About(
        "A step is taken unless the controller would shrink it below this share of its length.",
        "scheduler",
        True,
    ),
]
UseClippedModelOutput = Annotated[
    bool,
    About(
        "After clipping, computes the noise prediction anew, so that both agree.",
        "prediction",
        True,
    ),
]
LmsOrder = Annotated[
    int,
    Range(1, 10),
    Slider(1, 4, 1),
    About("How many noise predictions, this one and earlier, a step combines.", "scheduler"),
]
Compat = Annotated[
    Literal["diffusers", "paper"],
    About(
        "Where diffusers is not what the paper says: follow diffusers (same images) or the paper.",
        "scheduler",
        True,
    ),
]
#: Technical, hence not described for the page: "pt" for torch tensors, "np" for NumPy arrays.
TensorFormat = Literal["pt", "np"] | None


# --- from signature to schema -----------------------------------------------------------------

_KINDS: dict[type, Kind] = {bool: "bool", int: "int", float: "float"}


def _describe(
    name: str,
    hint: Any,
    default: Any,
    call: Literal["init", "step"],
) -> Parameter | None:
    """The Parameter behind one annotated argument; None where it has no description."""
    if get_origin(hint) is not Annotated:
        return None
    base, *notes = get_args(hint)
    about = next((note for note in notes if isinstance(note, About)), None)
    if about is None:
        return None
    bounds = next((note for note in notes if isinstance(note, Range)), Range())
    slider = next((note for note in notes if isinstance(note, Slider)), None)
    parts = get_args(base) if get_origin(base) in (Union, types.UnionType) else (base,)
    optional = type(None) in parts
    parts = tuple(part for part in parts if part is not type(None))
    literal = next((part for part in parts if get_origin(part) is Literal), None)
    function = any(get_origin(part) is Callable for part in parts)
    if not parts or function:
        kind: Kind = "object"
    else:
        kind = "choice" if literal else _KINDS.get(parts[0], "numbers")
    return Parameter(
        name=name,
        default=default,
        kind=kind,
        optional=optional,
        range=bounds,
        slider_low=slider.low if slider else None,
        slider_high=slider.high if slider else None,
        slider_step=slider.step if slider else None,
        log=slider.log if slider else False,
        choices=tuple(get_args(literal)) if literal else (),
        unit=about.unit,
        text=about.text,
        group=about.group,
        advanced=about.advanced,
        call=call,
        whole=list[int] in parts,
        function=function,
        may_be_empty=any(isinstance(note, MayBeEmpty) for note in notes),
    )


def describe(function: Callable[..., Any], call: Literal["init", "step"]) -> tuple[Parameter, ...]:
    """Descriptions of the annotated arguments of a constructor or step, in order."""
    hints = get_type_hints(function, include_extras=True)
    found = (
        _describe(name, hints.get(name), argument.default, call)
        for name, argument in inspect.signature(function).parameters.items()
    )
    return tuple(parameter for parameter in found if parameter is not None)
