"""The same patients and claims from STU3 and from R4 give the same rows, but for what the two servers say differently.

Each difference is listed with its kind, is checked to be no more than that, and must really occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

from s4s_lab.explore.tabulating import tabulate_many
from s4s_lab.views import packaged_views

Row = dict[str, Any]
# id: each server gave ids of its own. one: only one version says it. coded: each version has codes of its own.
Kind = Literal["id", "one", "coded"]
PEOPLE = ("Darcy_Schmidt", "Leroy_Johns", "Ashanti_Kuphal", "Dillon_Adams", "Wilfredo_Schmeler")
CLAIMS = ("Carrier", "Dme", "Hha", "Hospice", "Inpatient", "Outpatient", "Pde", "Snf")
VARIABLES = "https://bluebutton.cms.gov/resources/variables/"


def kinds(**columns: str) -> dict[str, Kind]:
    """Columns by kind, as a mapping the other way round."""
    of: dict[str, Kind] = {"own": "id", "one": "one", "coded": "coded"}
    return {name: of[kind] for kind, names in columns.items() for name in names.split()}


INPATIENT = """clm_pass_thru_per_diem_amt clm_pps_cptl_dsprprtnt_shr_amt clm_pps_cptl_excptn_amt clm_pps_cptl_fsp_amt
clm_pps_cptl_ime_amt clm_pps_cptl_outlier_amt clm_pps_old_cptl_hld_hrmls_amt clm_tot_pps_cptl_amt dsh_op_clm_val_amt
ime_op_clm_val_amt nch_bene_ip_ddctbl_amt nch_bene_pta_coinsrnc_lblty_amt nch_drg_outlier_aprvd_pmt_amt
nch_ip_ncvrd_chrg_amt nch_ip_tot_ddctn_amt"""
# The generator wrote Blue Button's elements into STU3 only, and prices and periods into R4 only.
SYNTHEA: dict[str, dict[str, Kind]] = {
    "imaging_study": kinds(own="resource_id encounter_reference", one="status"),
    "imaging_series": kinds(own="resource_id", one="availability"),
    "imaging_instance": kinds(own="resource_id"),
    "patient": {},
    "diagnostic_report": kinds(own="resource_id encounter_reference result_references", one="category category_system"),
    "explanation_of_benefit": kinds(
        own="resource_id",
        one="use type_display provider_reference provider_identifier organization_identifier outcome created "
        "created_text",
        coded="type type_system type_codes claim_reference",
    ),
    "eob_item": kinds(
        own="resource_id",
        one="product_or_service product_or_service_system product_or_service_display category category_system "
        "serviced_start serviced_start_text serviced_end serviced_end_text diagnosis_sequence net net_currency "
        "information_sequence",
        coded="location location_system",
    ),
    "eob_adjudication": kinds(own="resource_id", one="reason reason_system"),
    "eob_diagnosis": kinds(own="resource_id diagnosis_reference", one="on_admission"),
    "eob_care_team": kinds(own="resource_id", one="provider_reference provider_identifier", coded="role_system"),
    "eob_total": kinds(own="resource_id", one="category_system category_display", coded="element"),
    "eob_medicare": kinds(
        own="resource_id",
        one="nch_clm_type_cd eob_type nch_near_line_rec_ident_cd claim_query_cd clm_mdcr_non_pmt_rsn_cd fi_num "
        "prpayamt clm_op_bene_pmt_amt clm_op_prvdr_pmt_amt nch_bene_blood_ddctbl_lblty_am nch_bene_ptb_coinsrnc_amt "
        f"nch_bene_ptb_ddctbl_amt nch_profnl_cmpnt_chrg_amt {INPATIENT}",
    ),
    "eob_item_medicare": kinds(
        own="resource_id", one="rev_cntr_ndc_qty line_prcsg_ind_cd rev_cntr_ide_ndc_upc_num"
    ),
}  # fmt: skip
# CMS's two servers name other providers, number care teams anew, and R4 says more.
CMS: dict[str, dict[str, Kind]] = {
    "explanation_of_benefit": kinds(
        one="use created_text insurer_identifier provider_identifier provider_reference organization_identifier "
        "outcome",
        coded="type type_system type_display type_codes coverage_reference parse_issues",
    ),
    "eob_item": kinds(
        one="information_sequence", coded="care_team_sequence modifiers quantity product_or_service_system"
    ),
    "eob_procedure": kinds(coded="procedure_system"),
    "eob_medicare": kinds(
        one="carr_clm_entry_cd prpayamt carin_sub_type claim_query_cd clm_pps_ind_cd fi_orig_clm_cntl_num "
        "fi_clm_proc_dt fi_clm_proc_dt_text fi_clm_actn_cd bene_lrd_used_cnt clm_pps_cptl_drg_wt_num",
    ),
    "eob_item_medicare": kinds(one="rev_cntr_ndc_qty rev_cntr_unit_cnt ndc rev_cntr_ide_ndc_upc_num"),
}  # fmt: skip
GROUPS = {"synthea": SYNTHEA, "cms": CMS}
TABLES = [(group, table) for group, tables in GROUPS.items() for table in tables]


def twins(fhir: Path, group: str) -> Iterator[tuple[Path, Path]]:
    """Files with the same content in STU3 and in R4."""
    if group == "synthea":
        for name in PEOPLE:
            old, new = (next((fhir / version / "smart-bulk-synthea").glob(f"{name}_*")) for version in ("stu3", "r4"))
            yield old, new
        return
    for claim in CLAIMS:
        yield fhir / f"stu3/cms-bfd-v1/eobRead{claim}.json", fhir / f"r4/cms-bfd-v2/eobRead{claim}.json"


@cache
def rows_of(path: Path) -> dict[str, list[Row]]:
    return {name: table.to_pylist() for name, table in tabulate_many(path, packaged_views()).items()}


def pairs(fhir: Path, group: str, table: str) -> list[tuple[Row, Row]]:
    """Rows of both versions, side by side."""
    found = []
    for old, new in twins(fhir, group):
        found += list(zip(rows_of(old)[table], rows_of(new)[table], strict=True))
    return found


def is_no_more_than(kind: Kind | None, old: Any, new: Any) -> bool:
    """Say whether two cells differ by no more than their kind allows."""
    nothing: tuple[Any, ...] = (None, [])
    if kind == "coded":
        return True
    if kind == "one":
        return old in nothing or new in nothing or old == new
    return (old in nothing) == (new in nothing) if kind == "id" else bool(old == new)


@pytest.mark.parametrize(("group", "table"), TABLES)
def test_twins_give_equal_rows_but_for_the_differences_that_are_listed(group: str, table: str, test_data: Path) -> None:
    listed = GROUPS[group][table]
    both = pairs(test_data / "fhir", group, table)
    assert both
    for old, new in both:
        wrong = {
            name: (old[name], new[name]) for name in old if not is_no_more_than(listed.get(name), old[name], new[name])
        }
        assert not wrong


@pytest.mark.parametrize(("group", "table"), TABLES)
def test_every_listed_difference_occurs(group: str, table: str, test_data: Path) -> None:
    both = pairs(test_data / "fhir", group, table)
    assert {name for old, new in both for name in old if old[name] != new[name]} == set(GROUPS[group][table])


def amounts(rows: list[Row]) -> set[tuple[Any, ...]]:
    """What was adjudicated, whatever the order: item, Blue Button's variable, amount."""
    return {(row["item_sequence"], row["category_blue_button"], row["amount"], row["currency"]) for row in rows}


@pytest.mark.parametrize("claim", CLAIMS)
def test_adjudications_are_the_same_by_item_and_variable(claim: str, test_data: Path) -> None:
    fhir = test_data / "fhir"
    old = rows_of(fhir / f"stu3/cms-bfd-v1/eobRead{claim}.json")["eob_adjudication"]
    new = rows_of(fhir / f"r4/cms-bfd-v2/eobRead{claim}.json")["eob_adjudication"]
    # R4 says it at the item: see eob_item_medicare.
    said_elsewhere = {one for one in amounts(old) if one[1] == f"{VARIABLES}line_prcsg_ind_cd"}
    assert old
    assert amounts(old) - said_elsewhere <= amounts(new)


def test_the_processing_of_a_line_is_the_same_wherever_a_version_says_it(test_data: Path) -> None:
    both = pairs(test_data / "fhir", "cms", "eob_item_medicare")
    said = [(old["line_prcsg_ind_cd"], new["line_prcsg_ind_cd"]) for old, new in both]
    assert ("A", "A") in said
    assert all(old == new for old, new in said)


def test_medicares_amounts_are_those_of_the_inpatient_claim(test_data: Path) -> None:
    for path in ("stu3/cms-bfd-v1", "r4/cms-bfd-v2"):
        (claim,) = rows_of(test_data / "fhir" / path / "eobReadInpatient.json")["eob_medicare"]
        # Read off the files: extensions in STU3, benefit balances in R4.
        assert (claim["nch_bene_ip_ddctbl_amt"], claim["clm_tot_pps_cptl_amt"]) == (112, Decimal("646.23"))
        assert (claim["eob_type"], claim["nch_clm_type_cd"], claim["currency"]) == ("INPATIENT", "60", "USD")
