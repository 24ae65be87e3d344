"""The contrast transfer function against an independent formula, and what a microscopist expects of it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nunatak.optics.ctf import CtfParameters, electron_wavelength_A, evaluate_ctf

quick = settings(max_examples=60, deadline=None)


def ctf(*values: float) -> CtfParameters:
    return CtfParameters(*(torch.tensor([value], dtype=torch.float64) for value in values))


def independent_ctf(x: float, y: float, values: tuple[float, ...]) -> float:
    """The wave aberration from physical constants, in the form sqrt(1 - w^2) sin(chi) + w cos(chi)."""
    du_A, dv_A, angle_deg, voltage_kV, cs_mm, w, phase_deg = values
    planck, mass, charge, light = 6.62607015e-34, 9.1093837e-31, 1.602176634e-19, 299792458.0
    energy = charge * voltage_kV * 1e3
    momentum2 = 2 * mass * energy + (energy / light) ** 2
    wavelength_A = planck / math.sqrt(momentum2) * 1e10
    s2 = x * x + y * y
    # Astigmatism as a quadratic form: no azimuth is computed.
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along, across = x * c + y * s, -x * s + y * c
    defocus_s2 = du_A * along**2 + dv_A * across**2
    chi = math.pi * wavelength_A * defocus_s2 - math.pi / 2 * cs_mm * 1e7 * wavelength_A**3 * s2**2
    chi += math.radians(phase_deg)
    return math.sqrt(1 - w * w) * math.sin(chi) + w * math.cos(chi)


@quick
@given(
    st.floats(-0.2, 0.2),
    st.floats(-0.2, 0.2),
    st.tuples(
        st.floats(3000, 40000),
        st.floats(3000, 40000),
        st.floats(-180, 180),
        st.sampled_from([80.0, 120.0, 200.0, 300.0]),
        st.sampled_from([0.0, 0.01, 1.4, 2.7]),
        st.floats(0, 0.3),
        st.floats(0, 180),
    ),
)
def test_agrees_with_an_independent_formula(x: float, y: float, values: tuple[float, ...]) -> None:
    found = evaluate_ctf(ctf(*values), torch.tensor([[x, y]], dtype=torch.float64)).item()
    # The two wavelengths differ by 2e-5 relative, which defocus and frequency multiply.
    phase_rad = math.pi * 0.042 * 40000 * (x * x + y * y)
    assert found == pytest.approx(independent_ctf(x, y, values), abs=1e-5 + 5e-5 * phase_rad)


def test_wavelengths_are_the_textbook_ones() -> None:
    found = electron_wavelength_A(torch.tensor([100.0, 200.0, 300.0]))
    torch.testing.assert_close(
        found, torch.tensor([0.037014, 0.025079, 0.019687], dtype=torch.float64), rtol=1e-4, atol=0
    )


def test_is_even_and_one_row_per_particle() -> None:
    both = CtfParameters(
        *(
            torch.tensor(v)
            for v in ([1e4, 2e4], [9e3, 2e4], [20.0, 0], [300.0, 200], [2.7, 2], [0.1, 0.07], [0, 30.0])
        )
    )
    s = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)) * 0.1
    values = evaluate_ctf(both, s)
    assert values.shape == (2, 50)
    assert values.dtype == torch.float32
    assert len(both) == 2
    torch.testing.assert_close(evaluate_ctf(both, -s), values)
    torch.testing.assert_close(evaluate_ctf(both[1:], s), values[1:])
    assert values.abs().max() <= 1


def test_first_zero_is_where_theory_puts_it() -> None:
    """Without aberration and amplitude contrast the first zero is at 1 / sqrt(lambda defocus)."""
    zero = 1 / math.sqrt(electron_wavelength_A(torch.tensor(300.0)).item() * 15000)
    s = torch.tensor([[zero, 0.0], [0.9 * zero, 0.0], [1.1 * zero, 0.0]])
    at, before, after = evaluate_ctf(ctf(15000, 15000, 0, 300, 0, 0, 0), s)[0]
    assert abs(at) < 1e-5
    assert before > 0 > after
