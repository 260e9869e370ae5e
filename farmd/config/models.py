"""The tables of the configuration file, as frozen pydantic models. Every setting is declared here.

A field's docstring is its meaning. What one value can be is said here; what several tables must
agree on is in `checks`. Knows no file, no environment and no driver.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, Strict, model_validator

from farmd.config.base import Name, Table
from farmd.config.terms import MaintenanceTable, PowerGroupTable
from farmd.gcode import CLASSES, PERMISSIONS, is_allowable
from farmd.model.access import Role
from farmd.model.machine import ChamberSpec, MachineSpec
from farmd.model.work import PRINT

Process = Literal["BJT", "DED", "MEX", "MJT", "PBF", "SHL", "VPP"]
"""The seven process categories of ISO/ASTM 52900."""
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MACHINE_NAME = re.compile(r"(?!(?:J|R|B|P)-)[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):(?P<port>[0-9]{1,5})")


def _machine_name(name: str) -> str:
    if not _MACHINE_NAME.fullmatch(name):
        raise ValueError(
            "letters, digits, '.', '_' and '-' only, beginning with a letter or digit, at most 63,"
            " and not like an id ('J-', 'R-', 'B-', 'P-')"
        )
    return name


def _allow(name: str) -> str:
    if not is_allowable(name):
        raise ValueError(f"nothing of this name can be allowed; {', '.join((*CLASSES, *PERMISSIONS))} can")
    return name


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise ValueError('not a time zone of the IANA database, such as "Europe/Berlin"') from error
    return name


def _time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError('a time of day is "HH:MM", from "00:00" to "24:00"')
    return text


def _begins(text: str) -> str:
    if text == "24:00":
        raise ValueError('write "00:00" and name the next day in `days`')
    return _time_of_day(text)


def _listen(text: str) -> str:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError('an address is "HOST:PORT" with a port from 0 to 65535, such as "127.0.0.1:8420"')
    return text


def _database_url(url: str) -> str:
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError('begins with "sqlite:///" or "postgresql+psycopg://"')
    return url


Millimetres = Annotated[float, Field(gt=0)]
Amount = Annotated[float, Field(ge=0)]
TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]
# TOML has arrays and no tuples, text and no paths; everything else is taken strictly.
Names = Annotated[tuple[Name, ...], Strict(False)]
FilePath = Annotated[Path, Strict(False)]
Volume = Annotated[tuple[Millimetres, Millimetres, Millimetres], Strict(False)]
Area = Annotated[tuple[Millimetres, Millimetres], Strict(False)]


class FarmTable(Table):
    name: Name
    """What the farm is called in pages, metrics and messages."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    """The zone in which the shifts' times are meant."""
    data_dir: FilePath = Path("/var/lib/farmd")
    """Where database, vault, token and drivers' memories live; relative to this file's folder."""
    out_of_sight_s: Amount = 900.0
    """How long a machine without a history of its own may be unseen before its permit is void."""
    noisy_percent: Amount = 2.0
    """From which share of damaged lines on people are told that a link is noisy; 0 for never."""
    noisy_resends_per_min: Amount = 5.0
    """The same, from so many lines sent once more within a minute; 0 for never."""


class ApiTable(Table):
    listen: Annotated[str, AfterValidator(_listen)] = "127.0.0.1:8420"
    """Where the API and the pages are served; port 0 takes a free one."""
    token_file: FilePath = Path()
    """Where the first token is kept; `token` in data_dir when not given."""
    max_upload_mb: Annotated[int, Field(gt=0, strict=False)] = 512
    """The largest file that can be submitted."""
    requests_per_s: Annotated[float, Field(ge=0, strict=False)] = 200.0
    """How many requests a token may make in a second, emergency stops aside; 0 for any number."""
    socket: FilePath | None = None
    """The local socket, for those at this computer; `farmd.sock` in data_dir when not given."""
    socket_users: dict[Name, Annotated[Role, Strict(False)]] = Field(default_factory=dict)
    """Roles of this computer's users on the local socket, by their names."""
    socket_groups: dict[Name, Annotated[Role, Strict(False)]] = Field(default_factory=dict)
    """The same of its groups; what is said of a user goes before."""
    tls_cert: FilePath | None = None
    """The API's certificate with its chain, PEM; without it the API speaks plain HTTP."""
    tls_key: FilePath | None = None
    """The certificate's key, PEM, without a password."""

    @model_validator(mode="after")
    def _cert_and_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        return self

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])


class DatabaseTable(Table):
    url: Annotated[str, AfterValidator(_database_url)] = ""
    """SQLite or PostgreSQL; `farmd.sqlite` in data_dir when not given."""


class JournalTable(Table):
    anchor_file: FilePath | None = None
    """Where the journal's end is noted, for `farmd verify` to find a cut; `anchors` in data_dir when not given."""
    anchor_minutes: Annotated[float, Field(gt=0)] = 10.0
    """How often, when something has happened since."""
    anchor_facts: Annotated[int, Field(gt=0)] = 1000
    """After so many facts at the latest; they are counted every minute."""


class VaultTable(Table):
    key_file: FilePath | None = None
    """The master key that files are sealed with; else the service's credential `master.key`, else none."""
    old_key_files: Annotated[tuple[FilePath, ...], Strict(False)] = ()
    """Keys that were used before: they open and seal nothing more."""


class StorageTable(Table):
    min_free_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0
    """With less of the disk free, the farm goes into safe mode; 0 for never."""
    telemetry_minutes_days: Amount = 3.0
    """How long machines' temperatures and progress are kept by the minute; 0 for not at all."""
    telemetry_hours_days: Amount = 400.0
    """The same by the hour."""


class ShiftTable(Table):
    name: Name
    """The crew's name in plans."""
    days: Annotated[tuple[Weekday, ...], Strict(False), Field(min_length=1)] = WEEKDAYS
    """The days on which the shift begins."""
    begins: Annotated[str, AfterValidator(_begins)] = Field(alias="from")
    """When it begins, in the farm's time zone."""
    ends: TimeOfDay = Field(alias="to")
    """When it ends; at or before `from`, it ends on the next day."""
    people: Annotated[int, Field(ge=0)] | None = None
    """How many machines can be prepared at once; no limit when not given."""


class ChamberTable(Table):
    size_mm: Area
    """Width and depth of the build plate."""
    height_mm: Millimetres
    """The highest part that fits."""
    setup_s: Amount
    """What a load takes however small it is: heating, levelling."""
    s_per_mm3: Amount
    """Exposure, for each cubic millimetre of part."""
    s_per_mm: Amount
    """Recoating, for each millimetre of the highest part."""
    cooldown_s: Amount = 0.0
    """From the end of a load until the chamber may be opened."""
    precision: Amount = 1.0
    """Parts that ask for more precision than this are not put in."""
    packing: Annotated[float, Field(gt=0, le=1)] = 0.85
    """The share of the plate's area that a load may fill."""
    packing_density: Annotated[float, Field(gt=0, le=1)] | None = None
    """Where parts lie above each other: the share of the chamber's volume that those of a load may make up."""

    def spec(self) -> ChamberSpec:
        return ChamberSpec(**{name: getattr(self, name) for name in type(self).model_fields})


class MachineTable(Table):
    name: Annotated[str, AfterValidator(_machine_name)]
    """Unique, short, never like an id."""
    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    """That many machines like this, named `NAME-01`, `NAME-02` … ."""
    driver: Name
    """An entry point of the group `farmd.drivers`; an unknown name is answered with all there are."""
    group: Name = "default"
    """Machines that run the same sliced files equally well."""
    process: Literal[Process, "station"]
    """The process category of ISO/ASTM 52900, or "station" for finishing work."""
    volume_mm: Volume | None = None
    """Width, depth and height that can be printed; not for stations."""
    nozzle_mm: Millimetres | None = None
    """The nozzle that is in it when first known."""
    material: Name | None = None
    """What is loaded when first known; `farmctl load` changes it."""
    cost_per_hour: Amount = 0.0
    """Of running it, in the shop's currency."""
    max_nozzle_c: Amount = 260.0
    """Files that heat the nozzle further are refused."""
    max_bed_c: Amount = 110.0
    """Files that heat the bed further are refused."""
    max_chamber_c: Amount = 60.0
    """Files that heat the chamber further are refused."""
    allow: Annotated[tuple[Annotated[str, AfterValidator(_allow)], ...], Strict(False)] = ()
    """What is harmless on this machine and forbidden elsewhere: classes of machines, or single commands."""
    operations: Names = (PRINT,)
    """The steps of routes that it performs."""
    operation_minutes: Annotated[float, Field(gt=0)] | None = None
    """Stations: how long one operation takes, loading excluded."""
    permit_from_machine: bool = False
    """It ejects its parts and senses a clear bed, so it gives permits itself."""
    chamber: ChamberTable | None = None
    """Powder-bed machines: what fits and how long a load takes."""
    maintenance: Annotated[tuple[MaintenanceTable, ...], Strict(False)] = ()
    """When it is shut: nothing runs on it then, and nobody prepares it."""
    link: dict[str, Any] = Field(default_factory=dict)
    """Settings of the driver, as the driver's page describes them."""

    def each(self) -> tuple[Self, ...]:
        """The machines that this table stands for, one table each."""
        if self.count is None:
            return (self,)
        return tuple(
            self.model_copy(update={"name": n, "count": None}) for n in counted_names(self.name, self.count)
        )

    def spec(self) -> MachineSpec:
        return MachineSpec(
            name=self.name,
            driver=self.driver,
            group=self.group,
            process=self.process,
            volume_mm=self.volume_mm or (0.0, 0.0, 0.0),
            nozzle_mm=self.nozzle_mm,
            material=self.material,
            cost_per_hour=self.cost_per_hour,
            max_nozzle_c=self.max_nozzle_c,
            max_bed_c=self.max_bed_c,
            max_chamber_c=self.max_chamber_c,
            allow=self.allow,
            chamber=self.chamber.spec() if self.chamber else None,
            operations=self.operations,
            operation_s=(self.operation_minutes or 0.0) * 60,
            permit_from_machine=self.permit_from_machine,
            link=dict(self.link),
        )


def counted_names(name: str, count: int) -> tuple[str, ...]:
    """`mk4` and 2 to `mk4-01`, `mk4-02`."""
    return tuple(f"{name}-{number:02}" for number in range(1, count + 1))


class MaterialTable(Table):
    name: Name
    """A family ("PLA") or one of it ("PLA black")."""
    process: Process = "MEX"
    """The process category it is made for."""
    max_nozzle_c: Amount | None = None
    """Files for this material that heat the nozzle further are refused."""
    max_bed_c: Amount | None = None
    """Files for this material that heat the bed further are refused."""
    density_g_cm3: Annotated[float, Field(gt=0)] | None = None
    """From the volume of a part to its mass."""
    price_per_kg: Amount = 0.0
    """In the shop's currency."""


class ChangeoverTable(Table):
    before: Name = Field(alias="from")
    """The material that was loaded."""
    after: Name = Field(alias="to")
    """The material that is wanted."""
    minutes: Amount
    """A person's work for it; the way back is another entry."""


class PlannerTable(Table):
    budget_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a plan may be improved; a first one is there at once."""
    replan_min_interval_s: Amount = 1.0
    """Changes of the shop within this time share one new plan."""
    horizon_h: Annotated[float, Field(gt=0)] = 72.0
    """How much work is planned: as much as keeps all machines busy half as long again."""
    clear_minutes: Amount = 5.0
    """A person's work before each build: parts off, plate clean, machine ready."""
    default_changeover_minutes: Amount = 15.0
    """A person's work for a change of material that no `[[changeover]]` names."""
    operator_price: Amount = 0.0
    """Weighted seconds of tardiness that one second of a person's work is worth."""
    stability_price_s: Amount = 600.0
    """Weighted seconds of tardiness that it takes to move announced work to another machine."""
    spool_change_minutes: Amount = 0.0
    """A person's work for a new spool where a lot has too little left for a run; 0: what is left is not looked at."""
    wear_price: Amount = 0.0
    """What a second on a machine costs that ran twice as much lately as its kind, in weighted seconds of tardiness."""
    fair_share: Annotated[float, Field(ge=1, le=10)] = 1.0
    """By at most this factor weighs an owner's work more or less for what all had lately; 1: by none."""
    due_buffers: Amount = 1.0
    """How much room is kept before due dates for failures and for what is not ordered yet; 0 none."""
    socket: FilePath | None = None
    """Where `farmd planner` listens; without it the planner's workers are the daemon's children."""


class TargetTable(Table):
    parts_per_year: Annotated[int, Field(gt=0)] = 1_000_000
    """Good parts a year that the throughput page measures against."""


class Config(Table):
    """The whole file. `load_config` makes it, with paths resolved and defaults filled in."""

    farm: FarmTable
    api: ApiTable = ApiTable()
    database: DatabaseTable = DatabaseTable()
    journal: JournalTable = JournalTable()
    vault: VaultTable = VaultTable()
    storage: StorageTable = StorageTable()
    shifts: Annotated[tuple[ShiftTable, ...], Strict(False)] = Field(default=(), alias="shift")
    machines: Annotated[tuple[MachineTable, ...], Strict(False)] = Field(default=(), alias="machine")
    materials: Annotated[tuple[MaterialTable, ...], Strict(False)] = Field(default=(), alias="material")
    changeovers: Annotated[tuple[ChangeoverTable, ...], Strict(False)] = Field(default=(), alias="changeover")
    power_groups: Annotated[tuple[PowerGroupTable, ...], Strict(False)] = Field(
        default=(), alias="power_group"
    )
    planner: PlannerTable = PlannerTable()
    target: TargetTable = TargetTable()

    @property
    def socket_path(self) -> Path:
        """Where the local socket is."""
        return self.api.socket or self.farm.data_dir / "farmd.sock"

    @property
    def anchor_path(self) -> Path:
        """Where the journal's end is noted."""
        return self.journal.anchor_file or self.farm.data_dir / "anchors"

    def machine_specs(self) -> tuple[MachineSpec, ...]:
        """The machines in the file's order."""
        return tuple(machine.spec() for machine in self.machines)

    def shift_people(self) -> dict[str, int | None]:
        """People by shift; None is no limit."""
        return {shift.name: shift.people for shift in self.shifts}

    def changeover_s(self) -> tuple[tuple[str, str, float], ...]:
        """(from, to, seconds) of a person's work for each named change of material."""
        return tuple((c.before, c.after, c.minutes * 60) for c in self.changeovers)
