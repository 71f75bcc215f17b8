"""The literature, each paper once; a class names its own and the place: ``EDM.at("Table 1.")``."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["Reference"]

#: Authors that a citation in running text lists before it says "et al.".
MOST_AUTHORS = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a scheduler comes from.

    Attributes:
        title: Title of the paper.
        authors: Names of all authors, each with the surname last, separated by ", ".
        year: Year of the first version.
        arxiv: arXiv number, empty if there is none.
        note: Section, equation or algorithm, and other origins.
    """

    title: str
    authors: str
    year: int
    arxiv: str
    note: str = ""

    def at(self, note: str) -> Reference:
        """The same paper, at a place in it."""
        return replace(self, note=note)

    @property
    def surnames(self) -> str:
        """The authors in short."""
        names = [name.split()[-1] for name in self.authors.split(", ")]
        return ", ".join(names) if len(names) <= MOST_AUTHORS else f"{names[0]} et al."

    @property
    def url(self) -> str:
        """Address of the paper."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    @property
    def bibtex(self) -> str:
        """The citation as a BibTeX entry; its key is surname, year, first word of the title."""
        surname, word = self.surnames.split()[0], self.title.split()[0]
        key = re.sub(r"\W", "", f"{surname}{self.year}{word.replace('++', 'pp')}".lower())
        fields = {"title": f"{{{self.title}}}", "author": " and ".join(self.authors.split(", "))}
        fields["year"] = str(self.year)
        if self.arxiv:
            fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv", "url": self.url}
        if self.note:
            fields["note"] = self.note
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        return f"@misc{{{key},\n{lines}\n}}"

    def __str__(self) -> str:
        """A citation."""
        names = self.authors.split(", ")
        authors = self.authors if len(names) <= MOST_AUTHORS else ", ".join(names[:3]) + " et al."
        where = f", arXiv {self.arxiv}" if self.arxiv else ""
        return f"{authors} ({self.year}). {self.title}{where}. {self.note}".strip()


DPM_SOLVER_AUTHORS = "Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li, Jun Zhu"

DDPM = Reference(
    "Denoising Diffusion Probabilistic Models",
    "Jonathan Ho, Ajay Jain, Pieter Abbeel",
    2020,
    "2006.11239",
)
DDIM = Reference(
    "Denoising Diffusion Implicit Models",
    "Jiaming Song, Chenlin Meng, Stefano Ermon",
    2020,
    "2010.02502",
)
SCORE_SDE = Reference(
    "Score-Based Generative Modeling through Stochastic Differential Equations",
    "Yang Song, Jascha Sohl-Dickstein, Diederik P. Kingma, Abhishek Kumar, Stefano Ermon, "
    "Ben Poole",
    2020,
    "2011.13456",
)
PNDM = Reference(
    "Pseudo Numerical Methods for Diffusion Models on Manifolds",
    "Luping Liu, Yi Ren, Zhijie Lin, Zhou Zhao",
    2022,
    "2202.09778",
)
DEIS = Reference(
    "Fast Sampling of Diffusion Models with Exponential Integrator",
    "Qinsheng Zhang, Yongxin Chen",
    2022,
    "2204.13902",
)
EDM = Reference(
    "Elucidating the Design Space of Diffusion-Based Generative Models",
    "Tero Karras, Miika Aittala, Timo Aila, Samuli Laine",
    2022,
    "2206.00364",
)
DPM_SOLVER = Reference(
    "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model Sampling in Around 10 Steps",
    DPM_SOLVER_AUTHORS,
    2022,
    "2206.00927",
)
DPM_SOLVER_PP = Reference(
    "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
    DPM_SOLVER_AUTHORS,
    2022,
    "2211.01095",
)
UNIPC = Reference(
    "UniPC: A Unified Predictor-Corrector Framework for Fast Sampling of Diffusion Models",
    "Wenliang Zhao, Lujia Bai, Yongming Rao, Jie Zhou, Jiwen Lu",
    2023,
    "2302.04867",
)
CONSISTENCY = Reference(
    "Consistency Models",
    "Yang Song, Prafulla Dhariwal, Mark Chen, Ilya Sutskever",
    2023,
    "2303.01469",
)
PARADIGMS = Reference(
    "Parallel Sampling of Diffusion Models",
    "Andy Shih, Suneel Belkhale, Stefano Ermon, Dorsa Sadigh, Nima Anari",
    2023,
    "2305.16317",
)
SA_SOLVER = Reference(
    "SA-Solver: Stochastic Adams Solver for Fast Sampling of Diffusion Models",
    "Shuchen Xue, Mingyang Yi, Weijian Luo, Shifeng Zhang, Jiacheng Sun, Zhenguo Li, Zhi-Ming Ma",
    2023,
    "2309.05019",
)
LCM = Reference(
    "Latent Consistency Models: Synthesizing High-Resolution Images with Few-Step Inference",
    "Simian Luo, Yiqin Tan, Longbo Huang, Jian Li, Hang Zhao",
    2023,
    "2310.04378",
)
TCD = Reference(
    "Trajectory Consistency Distillation",
    "Jianbin Zheng, Minghui Hu, Zhongyi Fan, Chaoyue Wang, Changxing Ding, Dacheng Tao, "
    "Tat-Jen Cham",
    2024,
    "2402.19159",
)
STABLE_DIFFUSION_3 = Reference(
    "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis",
    "Patrick Esser, Sumith Kulal, Andreas Blattmann, Rahim Entezari, Jonas Müller, Harry Saini, "
    "Yam Levi, Dominik Lorenz, Axel Sauer, Frederic Boesel, Dustin Podell, Tim Dockhorn, "
    "Zion English, Kyle Lacey, Alex Goodwin, Yannik Marek, Robin Rombach",
    2024,
    "2403.03206",
)
LTX_VIDEO = Reference(
    "LTX-Video: Realtime Video Latent Diffusion",
    "Yoav HaCohen, Nisan Chiprut, Benny Brazowski, Daniel Shalem, Dudu Moshe, Eitan Richardson, "
    "Eran Levin, Guy Shiran, Nir Zabari, Ori Gordon, Poriya Panet, Sapir Weissbuch, "
    "Victor Kulikov, Yaki Bitterman, Zeev Melumian, Ofir Bibi",
    2024,
    "2501.00103",
)
STABLE_AUDIO = Reference(
    "Stable Audio Open",
    "Zach Evans, Julian D. Parker, CJ Carr, Zack Zukowski, Josiah Taylor, Jordi Pons",
    2024,
    "2407.14358",
)
