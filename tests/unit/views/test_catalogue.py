"""The catalogue: the same tables from STU3 and R4, with the columns that were agreed, each explained."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pyarrow as pa
import pytest

from s4s_lab.errors import ViewError
from s4s_lab.views import FhirVersion, data_dictionary, load_view, packaged_views, run_views, table_schema
from s4s_lab.views.columns import columns_of
from s4s_lab.views.definition import ViewDefinition, read_definition

CODED = "{0} {0}_system {0}_display"
COLUMNS = {
    "imaging_study": "study_uid accession status availability patient_reference encounter_reference started "
    "started_text modalities number_of_series number_of_instances description referrer_reference endpoint_references "
    + CODED.format("procedure_code") + " " + CODED.format("reason_code"),
    "imaging_series": "study_uid series_uid number modality description number_of_instances "
    + CODED.format("body_site") + " laterality availability started started_text endpoint_references",
    "imaging_instance": "study_uid series_uid instance_uid number sop_class title",
    "imaging_endpoint": "status connection_type name address payload_types payload_mime_types "
    "managing_organization_reference period_start period_end resolved_wado_base",
    "explanation_of_benefit": "status use " + CODED.format("type") + " type_codes billable_period_start "
    "billable_period_start_text billable_period_end billable_period_end_text created created_text insurer_reference "
    "insurer_identifier provider_reference provider_identifier organization_reference organization_identifier "
    "facility_reference claim_reference coverage_reference outcome disposition payment_type payment_amount "
    "payment_currency payment_date payment_date_text total_cost total_benefit",
    "eob_item": "sequence category category_system revenue revenue_system " + CODED.format("product_or_service")
    + " modifiers serviced_start serviced_start_text serviced_end serviced_end_text location location_system quantity "
    "quantity_unit unit_price unit_price_currency net net_currency care_team_sequence diagnosis_sequence "
    "procedure_sequence information_sequence",
    "eob_adjudication": "item_sequence detail_sequence row_index " + CODED.format("category")
    + " reason reason_system amount currency value category_blue_button category_carin",
    "eob_diagnosis": "sequence " + CODED.format("diagnosis") + " diagnosis_reference types package_code on_admission",
    "eob_procedure": "sequence types date date_text " + CODED.format("procedure") + " procedure_reference",
    "eob_care_team": "sequence provider_reference provider_identifier responsible " + CODED.format("role") + " "
    + CODED.format("qualification") + " prvdr_spclty carr_line_prvdr_type_cd prtcptng_ind_cd",
    "eob_total": "row_index element " + CODED.format("category") + " amount currency "
    "category_blue_button category_carin",
    "eob_medicare": """
    nch_clm_type_cd eob_type carin_sub_type nch_near_line_rec_ident_cd clm_srvc_clsfctn_type_cd
    claim_query_cd clm_fac_type_cd asgmntcd carr_clm_entry_cd carr_clm_pmt_dnl_cd clm_mdcr_non_pmt_rsn_cd
    fi_clm_actn_cd clm_freq_cd clm_ip_admsn_type_cd clm_src_ip_admsn_cd ptnt_dschrg_stus_cd
    nch_ptnt_stus_ind_cd clm_mco_pd_sw nch_prmry_pyr_cd clm_hha_lupa_ind_cd clm_hha_rfrl_cd clm_pps_ind_cd
    brnd_gnrc_cd ctstrphc_cvrg_cd daw_prod_slctn_cd drug_cvrg_stus_cd dspnsng_stus_cd nstd_frmt_cd
    prcng_excptn_cd ptnt_rsdnc_cd rx_orgn_cd submsn_clr_cd adjstmt_dltn_cd phrmcy_srvc_type_cd clm_drg_cd
    carr_clm_cntl_num carr_num clm_clncl_tril_num fi_doc_clm_cntl_num fi_orig_clm_cntl_num fi_num
    plan_cntrct_rec_id plan_pbp_rec_num fi_clm_proc_dt fi_clm_proc_dt_text nch_wkly_proc_dt
    nch_wkly_proc_dt_text nch_bene_mdcr_bnfts_exhtd_dt_i nch_bene_mdcr_bnfts_exhtd_dt_i_text
    nch_qlfyd_stay_from_dt nch_qlfyd_stay_from_dt_text nch_qlfyd_stay_thru_dt nch_qlfyd_stay_thru_dt_text
    nch_vrfd_ncvrd_stay_from_dt nch_vrfd_ncvrd_stay_from_dt_text nch_vrfd_ncvrd_stay_thru_dt
    nch_vrfd_ncvrd_stay_thru_dt_text admission_start admission_start_text admission_end admission_end_text
    days_suply_num fill_num carr_clm_cash_ddctbl_apld_amt nch_carr_clm_alowd_amt nch_carr_clm_sbmtd_chrg_amt
    nch_clm_bene_pmt_amt nch_clm_prvdr_pmt_amt prpayamt clm_op_bene_pmt_amt clm_op_prvdr_pmt_amt
    clm_pass_thru_per_diem_amt clm_pps_cptl_dsprprtnt_shr_amt clm_pps_cptl_excptn_amt clm_pps_cptl_fsp_amt
    clm_pps_cptl_ime_amt clm_pps_cptl_outlier_amt clm_pps_old_cptl_hld_hrmls_amt clm_tot_pps_cptl_amt
    clm_uncompd_care_pmt_amt dsh_op_clm_val_amt ime_op_clm_val_amt nch_bene_blood_ddctbl_lblty_am
    nch_bene_ip_ddctbl_amt nch_bene_pta_coinsrnc_lblty_amt nch_bene_ptb_coinsrnc_amt nch_bene_ptb_ddctbl_amt
    nch_drg_outlier_aprvd_pmt_amt nch_ip_ncvrd_chrg_amt nch_ip_tot_ddctn_amt nch_profnl_cmpnt_chrg_amt
    bene_lrd_used_cnt bene_tot_coinsrnc_days_cnt clm_non_utlztn_days_cnt clm_utlztn_day_cnt
    clm_pps_cptl_drg_wt_num clm_hha_tot_visit_cnt bene_hospc_prd_cnt nch_blood_pnts_frnshd_qty currency
    """,
    "eob_item_medicare": """
    sequence betos_cd carr_line_mtus_cd line_bene_prmry_pyr_cd line_service_deductible line_prcsg_ind_cd
    carr_line_rdcd_pmt_phys_astn_c line_pmt_80_100_cd prvdr_state_cd prvdr_zip carr_line_prcng_lclty_cd
    carr_line_clia_lab_num dmerc_line_prcng_state_cd dmerc_line_supplr_type_cd suplrnum tax_num ndc
    rev_cntr_ide_ndc_upc_num rev_cntr_stus_ind_cd rev_cntr_ddctbl_coinsrnc_cd carr_line_mtus_cnt
    dmerc_line_mtus_cnt rev_cntr_ndc_qty rev_cntr_unit_cnt dmerc_line_scrn_svgs_amt
    """,
    "patient": "gender birth_date birth_date_text deceased deceased_date_time deceased_date_time_text "
    "managing_organization_reference",
    "coverage": "status " + CODED.format("type") + " relationship period_start period_start_text period_end "
    "period_end_text payor_references group plan dependent network order",
    "diagnostic_report": "status category category_system " + CODED.format("code") + " encounter_reference "
    "effective_start effective_start_text effective_end effective_end_text issued performer_references "
    "imaging_study_references result_references conclusion conclusion_codes presented_form_types",
}  # fmt: skip
HEAD = ["source", "participant_id", "patient_id", "resource_id", "version_id", "last_updated"]
STU3: FhirVersion = "stu3"
R4: FhirVersion = "r4"
DECIMAL, INSTANT = pa.decimal128(38, 18), pa.timestamp("ms", "UTC")
ALL = pytest.mark.parametrize("name", sorted(COLUMNS))


def test_the_catalogue_holds_the_tables_that_were_agreed() -> None:
    assert packaged_views() == sorted(COLUMNS)


@ALL
def test_a_table_has_the_agreed_columns_between_provenance_and_issues(name: str) -> None:
    view = load_view(name)
    assert [column.name for column in view.columns] == COLUMNS[name].split()
    assert table_schema(view).names == [*HEAD, *COLUMNS[name].split(), "parse_issues"]


@ALL
def test_a_table_without_rows_has_the_same_schema(name: str) -> None:
    view = load_view(name)
    table = run_views([view], [])[name]
    assert table.num_rows == 0
    assert table.schema.equals(table_schema(view), check_metadata=True)


@ALL
def test_every_column_is_explained_and_says_where_it_comes_from(name: str) -> None:
    rows = data_dictionary(load_view(name)).to_pylist()
    assert [row["column"] for row in rows] == [*HEAD, *COLUMNS[name].split(), "parse_issues"]
    for row in rows:
        assert row["meaning"], row
        assert row["type"], row
    for row in rows[len(HEAD) : -1]:
        assert row["fhir_stu3"] or row["fhir_r4"], row


def members(value: Any, name: str) -> list[Any]:
    """Every member `name` at any depth."""
    if isinstance(value, list):
        return [found for one in value for found in members(one, name)]
    if not isinstance(value, dict):
        return []
    below = [found for key, one in value.items() if key != name for found in members(one, name)]
    return ([value[name]] if name in value else []) + below


@ALL
@pytest.mark.parametrize(("version", "said"), [("stu3", "3.0.2"), ("r4", "4.0.1")])
def test_each_file_is_a_shareable_view_definition(name: str, version: str, said: str) -> None:
    text = (files("s4s_lab.views") / "catalogue" / version / f"{name}.json").read_text(encoding="utf-8")
    view = json.loads(text)
    assert (view["name"], view["status"], view["fhirVersion"]) == (name, "active", [said])
    assert view["resourceType"].endswith("/ViewDefinition")
    columns = [column for many in members(view["select"], "column") for column in many]
    assert all({"name", "path", "type", "description"} <= column.keys() for column in columns)


@pytest.mark.parametrize(
    ("name", "column", "arrow"),
    [
        ("imaging_study", "patient_id", pa.string()),
        ("imaging_study", "last_updated", INSTANT),
        ("imaging_study", "started", INSTANT),
        ("imaging_study", "started_text", pa.string()),
        ("imaging_study", "modalities", pa.list_(pa.string())),
        ("imaging_study", "number_of_series", pa.int32()),
        ("imaging_study", "parse_issues", pa.list_(pa.string())),
        ("explanation_of_benefit", "created", INSTANT),
        ("explanation_of_benefit", "payment_amount", DECIMAL),
        ("explanation_of_benefit", "payment_date", pa.date32()),
        ("eob_item", "care_team_sequence", pa.list_(pa.int32())),
        ("eob_item", "quantity", DECIMAL),
        ("eob_care_team", "responsible", pa.bool_()),
        ("patient", "birth_date", pa.date32()),
    ],
)
def test_columns_are_stored_as_the_design_says(name: str, column: str, arrow: pa.DataType) -> None:
    assert table_schema(load_view(name)).field(column).type == arrow


def test_the_dictionary_gives_paths_from_the_resource_and_units() -> None:
    items = {row["column"]: row for row in data_dictionary(load_view("eob_item")).to_pylist()}
    assert items["product_or_service"]["fhir_stu3"] == "item.service.coding.first().code"
    assert items["product_or_service"]["fhir_r4"] == "item.productOrService.coding.first().code"
    assert items["serviced_start"]["fhir_r4"].startswith("item.select((serviced.ofType(date) | ")
    assert items["net"]["unit"] == "net_currency"
    studies = {row["column"]: row for row in data_dictionary(load_view("imaging_study")).to_pylist()}
    assert studies["status"]["fhir_stu3"] == ""
    assert studies["study_uid"]["fhir_type"] == "oid"
    rows = {row["column"]: row for row in data_dictionary(load_view("eob_adjudication")).to_pylist()}
    assert rows["row_index"]["fhir_stu3"] == "%rowIndex"
    assert rows["amount"]["fhir_stu3"] == "item.adjudication.amount.value | item.detail.adjudication.amount.value"


@pytest.mark.parametrize(
    "other", [{"name": "b"}, {"type": "boolean"}, {"collection": True}, {"description": "something else"}]
)
def test_versions_of_one_view_must_have_the_same_columns(other: dict[str, Any]) -> None:
    column = {"name": "a", "path": "gender", "type": "code", "description": "who"}
    plans: dict[FhirVersion, ViewDefinition] = {
        version: read_definition({"resource": "Patient", "select": [{"column": [column | changes]}]})
        for version, changes in ((STU3, {"path": "id"}), (R4, other))
    }
    assert [one.name for one in columns_of({"stu3": plans["stu3"]})] == ["a"]
    with pytest.raises(ViewError, match="columns differ between stu3 and r4"):
        columns_of(plans)


def test_the_schema_carries_the_dictionary_as_metadata() -> None:
    field = table_schema(load_view("imaging_study")).field("study_uid")
    assert field.metadata[b"meaning"].startswith(b"Study Instance UID")
    assert set(field.metadata) == {b"fhir_stu3", b"fhir_r4", b"meaning", b"unit"}
    assert b"urn:dicom:uid" in field.metadata[b"fhir_r4"]
