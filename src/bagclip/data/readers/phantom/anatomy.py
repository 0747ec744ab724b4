"""The anatomy: a patient laid out on the pixels of a picture, and what X-rays see of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bagclip.data.readers.phantom.layers import Layers
from bagclip.data.readers.phantom.patient import CARINA, Patient, Side
from bagclip.data.readers.phantom.shapes import bump, ellipse, join, pixel_centres, soft

if TYPE_CHECKING:
    from bagclip.data.readers.phantom.shapes import Field

VESSEL = 0.30
"""Share of the air that a vessel takes; what fills the lung so hides its vessels."""


@dataclass(frozen=True)
class View:
    """A patient on the pixels of a square picture; its fields are computed when first asked for."""

    patient: Patient
    size: int

    @cached_property
    def pixel(self) -> float:
        """The width of a pixel in body coordinates."""
        return 1 / (self.size * self.patient.scale)

    @cached_property
    def edge(self) -> float:
        """Half the width of an edge: the picture's blur, and never less than what a pixel can show."""
        return max(self.patient.blur, 0.5 * self.pixel)

    def at_least(self, radius: float) -> float:
        """The radius of a disc that cannot fall between the pixels."""
        return max(radius, 0.75 * self.pixel)

    def thick(self, half_width: float) -> float:
        """Half the width of a line that cannot break up between the pixels."""
        return max(half_width, 0.55 * self.pixel)

    @cached_property
    def _uv(self) -> tuple[Field, Field]:
        p, centres = self.patient, pixel_centres(self.size)
        cos, sin = math.cos(p.angle) / p.scale, math.sin(p.angle) / p.scale
        x, y = (centres - (0.5 + p.shift[0]))[None], (centres - (0.5 + p.shift[1]))[:, None]
        return x * cos + y * sin, y * cos - (x * sin - 0.5)

    @property
    def u(self) -> Field:
        """Body coordinate from the midline to the patient's left."""
        return self._uv[0]

    @property
    def v(self) -> Field:
        """Body coordinate from top to bottom."""
        return self._uv[1]

    @cached_property
    def a(self) -> Field:
        """Distance from the midline."""
        return np.abs(self.u)

    @cached_property
    def left(self) -> Field:
        """True on the patient's left."""
        return self.u > 0

    def on(self, side: Side) -> Field:
        """True on one side."""
        return self.left if side == "left" else ~self.left

    @cached_property
    def narrowing(self) -> Field:
        """Of the chest: 0 at the waist and below, 1 at the apex, more above."""
        p = self.patient
        return np.maximum((p.waist - self.v) * (1 / (p.waist - p.apex)), 0)

    @cached_property
    def lung_middle(self) -> Field:
        """Distance of the middle of the lung from the midline, row by row."""
        return self.patient.width - 0.165 - 0.06 * np.minimum(self.narrowing, 1)

    @cached_property
    def cage(self) -> Field:
        """Distance to the chest wall, positive inside: a lung that is open below."""
        across = (self.a - self.lung_middle) * (1 / 0.165)
        across *= across
        return (1 - np.sqrt(across + self.narrowing * self.narrowing)) * 0.165

    @cached_property
    def above_diaphragm(self) -> Field:
        """Distance to the diaphragm, positive above it."""
        right, left = self.patient.domes
        off = np.sqrt(self.u * self.u + 0.003) - 0.16
        return (right + (left - right) * soft(self.u, 0.05)) + 2.2 * (off * off) - self.v

    @cached_property
    def lung(self) -> Field:
        """Coverage of both lungs, also where the heart lies before them."""
        return soft(self.cage, self.edge) * soft(self.above_diaphragm, self.edge)

    def heart(self, enlargement: float) -> Field:
        """Distance to the border of the heart: the right atrium and, to the patient's left, the left ventricle."""
        p = self.patient
        right, left = p.heart[0] * enlargement, p.heart[1] * enlargement
        tall = 0.125 * (0.6 + 0.4 * enlargement)
        ventricle = ellipse(self.u, self.v, (0.30 * left, p.heart_v + 0.012), (0.72 * left, 0.92 * tall), p.tilt)
        atrium = ellipse(self.u, self.v, (0.02 - right * 0.3, p.heart_v - 0.01), (0.02 + right * 0.7, tall * 0.85))
        return join(ventricle, atrium, 0.03)

    def silhouette(self, enlargement: float) -> Field:
        """Coverage of the heart and the mediastinum, whose borders run into each other."""
        return soft(join(self.heart(enlargement), self.mediastinum, 0.05), 1.7 * self.edge)

    @cached_property
    def usual_silhouette(self) -> Field:
        """The silhouette of a heart of usual size."""
        return self.silhouette(1.0)

    @cached_property
    def own_silhouette(self) -> Field:
        """The silhouette of the patient's own heart, which may be enlarged."""
        k = self.patient.enlargement
        return self.usual_silhouette if k == 1 else self.silhouette(k)

    @cached_property
    def mediastinum(self) -> Field:
        """Distance to the border of the great vessels and what surrounds them, down the middle."""
        v = self.v - 0.05
        half = 0.046 + 0.06 * bump(v * v * 14)
        knob = ellipse(self.u, self.v, (0.040, 0.345), (0.038, 0.042))
        trunk = ellipse(self.u, self.v, (0.035, 0.46), (0.048, 0.075), -0.15)
        return join(np.maximum(half - self.a, trunk), knob, 0.02)

    @cached_property
    def seen_lung(self) -> Field:
        """Coverage of the lungs where no heart and no mediastinum hides them."""
        return self.lung * (1 - self.own_silhouette)

    @cached_property
    def lateral(self) -> Field:
        """How far out a point is: 0 at the midline, 1 at the outer face of the ribs."""
        n = np.minimum(self.narrowing, 1)
        wall = self.lung_middle + 0.165 * np.sqrt(1 - n * n) + 0.012
        return self.a / wall

    @cached_property
    def rib_phase(self) -> Field:
        """Which posterior rib a point lies on: k + 1/2 on the middle of rib k, whole numbers between ribs."""
        first, spacing, drop = self.patient.ribs
        n = np.minimum(self.lateral, 1)
        return (self.v - drop * (1 - np.sqrt(1 - n * n)) + (0.035 * n - first)) * (1 / spacing)

    def rib(self, phase: Field) -> Field:
        """Brightness of ribs at a phase: bands with a bright edge above and below."""
        spacing = self.patient.ribs[1]
        off = np.abs(phase - np.floor(phase) - 0.5)
        return soft((0.17 - off) * spacing, 1.2 * self.edge) * (0.65 + 9 * (off * off))

    @cached_property
    def vessels(self) -> Field:
        """Brightness of the lung vessels, which spread from the hilum and fork twice on their way."""
        du, dv = self.a - 0.055, self.v - (CARINA + 0.06)
        r = np.sqrt(du * du + dv * dv + 1e-8)
        # The angle as seen on a square, not on a circle: 0 sideways, 1 straight down, and no arc tangent.
        s = np.abs(du) + np.abs(dv) + 1e-6
        angle = dv / s
        turn = (angle * 3 + self.patient.vessels) + (2.6 * r + 0.9 * angle - 0.6) * (angle - 0.2)
        turn[self.left] += 0.4
        off = np.abs(turn - np.rint(turn))
        for begin, apart in ((0.05, 1 / 4), (0.12, 1 / 8)):
            off -= ((r - begin) * (apart / 0.1)).clip(0, apart)
            np.abs(off, out=off)
        s *= s
        s /= r * (3.5 * np.maximum(0.0085 - 0.022 * r, self.at_least(0.003)))
        off *= s
        ridge = bump(off * off)
        ridge *= np.maximum(1 - np.maximum(r - 0.05, 0) * (1 / 0.31), 0)
        ridge *= soft(self.a - 0.06, 0.02)
        ridge *= self.lung
        return ridge

    def layers(self) -> Layers:
        """The healthy patient: no finding, a heart of usual size."""
        p, a, v, edge = self.patient, self.a, self.v, self.edge
        wall = p.width + 0.05 + 0.05 * p.fat
        out = a * (1 / wall)
        shoulder = v - 0.02 - 0.19 * out * out
        torso = -join(a - wall, -shoulder, 0.12)
        body = soft(join(torso, 0.115 - a, 0.05), 2 * edge)
        out *= out
        out *= out
        tissue = body * ((0.60 + 0.08 * p.fat) * (1 - (0.25 + 0.4 * out) * out))
        below = 1 - soft(self.above_diaphragm, edge)
        tissue += body * below * 0.22
        stomach = ellipse(self.u, v, (0.13, p.domes[1] + 0.075), (0.055, 0.035), 0.3)
        tissue -= 0.16 * soft(stomach, 0.02)

        heart = self.usual_silhouette
        tissue += 0.16 * body * heart
        tissue += 0.13 * body * self.spine
        # The windpipe runs down the midline, its two branches run apart below the carina.
        bronchus = np.maximum((v - (CARINA - 0.015)) * 0.85, 0)
        tissue -= 0.13 * soft(np.minimum(0.014 - np.abs(a - bronchus), CARINA + 0.05 - v), 1.5 * edge)
        hilum_u, hilum_v = a - 0.075, v - (CARINA + 0.06)
        tissue += 0.13 * self.lung * bump(hilum_u * hilum_u * 330 + hilum_v * hilum_v * 130)
        tissue += p.bone * self.bones
        if p.breast:
            breast = ellipse(a, v, (0.19, 0.66), (0.158, 0.149))
            tissue += 0.10 * p.breast * soft(breast, 0.035)
        return Layers(tissue, self.lung * (1 - 0.82 * heart) * (1 - VESSEL * self.vessels))

    @cached_property
    def spine(self) -> Field:
        """Coverage of the spine, darker at the discs."""
        discs = np.cos(self.v * (2 * math.pi / 0.058))
        return soft(0.036 - self.a, 2 * self.edge) * (0.85 + 0.25 * np.minimum(discs, 0.2))

    @cached_property
    def bones(self) -> Field:
        """Brightness of ribs, seen from behind and fainter from the front, and of clavicles."""
        phase, n, a = self.rib_phase, self.lateral, self.a
        first, spacing, _ = self.patient.ribs
        outer = soft(1 - n, 0.03)
        bones = 0.115 * self.rib(phase)
        bones *= soft(n - 0.06, 0.03) * soft(np.minimum(phase, 10.2 - phase), 0.1)
        front = (self.v + 0.24 * n - (first + 0.30)) * (1 / spacing)
        fore = 0.055 * self.rib(front)
        fore *= soft(np.minimum((n - 0.42) * 0.4, np.minimum(front, 6 - front)), 0.05)
        bones += fore
        bones *= outer
        # A clavicle is a flat arch from the breastbone to the shoulder.
        arch = self.v - 0.245 + a * (0.52 - 0.75 * a)
        clavicle = np.minimum(0.011 - np.abs(arch), np.minimum(a - 0.04, 0.33 - a))
        bones += 0.14 * soft(clavicle, 1.3 * self.edge)
        return bones
