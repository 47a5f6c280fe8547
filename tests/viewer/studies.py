"""Studies that a viewer must show, one of each kind that it asks for in its own way: a stack in six transfer syntaxes,
multi-frame images, a slide, an ECG, a document, a measurement and a segmentation."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence

import highdicom as hd
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

ROOT = "1.2.826.0.1.3680043.8.498.9100"
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
COMPUTED_RADIOGRAPHY, ULTRASOUND_CINE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.3.1"
SLIDE, PDF = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.104.1"

STACK, FRAMES, PATHOLOGY, PAPERS = (f"{ROOT}.{number}" for number in (1, 2, 3, 4))
SLICES = 12
SIZE = 192
Samples = NDArray[np.uint8] | NDArray[np.uint16]


def phantom(number: int, size: int = SIZE) -> NDArray[np.uint16]:
    """A body with two lungs, a spine that moves from slice to slice and a ruler: 12 bits, 1024 is water."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    made = np.where(np.hypot(x, y * 1.25) < 0.44, 1064 + 60 * x + 80 * y, 24)
    for side in (-0.17, 0.17):
        made[np.hypot(x - side, y) < 0.12] = 180
    made[np.hypot(x - 0.02 * np.sin(number), y - 0.25) < 0.05] = 1800
    made[np.hypot(x, y + 0.2) < 0.02 + number * 0.004] = 1350
    noise = np.random.default_rng(number).normal(0, 6, (size, size))
    return np.clip(made + noise, 0, 4095).astype("<u2")


def colours(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A picture in colour whose bright disc moves with the number."""
    y, x = np.mgrid[0:height, 0:width]
    disc = np.hypot(x - width * (0.2 + 0.02 * (number % 30)), y - height / 2) < height / 6
    planes = [x * 200 // width + 30, y * 200 // height + 30, (x + y + 11 * number) % 160]
    return np.stack([np.where(disc, 250, plane) for plane in planes], -1).astype(np.uint8)


def instance(study: str, series: int, number: int, sop_class: str, modality: str, **values: object) -> Dataset:
    """What all of them have in common; keywords are attributes."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UID(sop_class), UID(f"{study}.{series}.{number}")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(study), UID(f"{study}.{series}")
    ds.SeriesNumber, ds.InstanceNumber, ds.Modality = series, number, modality
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20240229", "101500", "1"
    ds.ContentDate, ds.ContentTime = "20240229", "101500"
    ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName = "19500101", "O", "Refers^Somebody"
    ds.Manufacturer, ds.SpecificCharacterSet = "Fileroom", "ISO_IR 192"
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def pixels(ds: Dataset, samples: Samples, *, photometric: str = "MONOCHROME2", stored: int = 8) -> None:
    """The Image Pixel module; frames come first in `samples` when there is more than one."""
    rows, columns = samples.shape[-3:-1] if photometric != "MONOCHROME2" else samples.shape[-2:]
    ds.Rows, ds.Columns, ds.PhotometricInterpretation = rows, columns, photometric
    ds.SamplesPerPixel = 1 if photometric == "MONOCHROME2" else 3
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored = samples.itemsize * 8, stored
    ds.HighBit, ds.PixelRepresentation = stored - 1, 0
    ds.PixelData = samples.tobytes()
    ds["PixelData"].VR = "OW" if samples.itemsize == 2 else "OB"


def part10(ds: Dataset, syntax: str = ExplicitVRLittleEndian, frames: Sequence[bytes] = ()) -> bytes:
    """The file; `frames` are compressed ones, which replace the pixel data."""
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = UID(syntax)
    if frames:
        ds.PixelData = encapsulate(list(frames))
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    pydicom.dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def jpeg(samples: NDArray[np.uint8]) -> bytes:
    """One frame as JPEG baseline."""
    out = io.BytesIO()
    Image.fromarray(samples).save(out, format="JPEG", quality=85)
    return out.getvalue()


def stack() -> Iterator[Dataset]:
    """The slices of a CT, uncompressed."""
    for number in range(1, SLICES + 1):
        ds = instance(STACK, 1, number, CT, "CT", PatientName="Stack^Computed", PatientID="VIEW-1")
        ds.StudyDescription, ds.SeriesDescription, ds.AccessionNumber = "CT of a phantom", "native", "ACC-STACK"
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = UID(f"{STACK}.99"), ""
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-96, -96, number * 3.0], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.SliceLocation = [1.0, 1.0], 3.0, number * 3.0
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
        ds.WindowCenter, ds.WindowWidth, ds.KVP, ds.AcquisitionNumber = 40, 900, "120", 1
        pixels(ds, phantom(number), stored=12)
        yield ds


def compressed_stacks() -> Iterator[bytes]:
    """Three slices of it in each of five compressed transfer syntaxes, a series each."""
    kinds = ((2, JPEG2000Lossless), (3, RLELossless), (4, JPEGLSLossless), (5, JPEGBaseline8Bit), (8, HTJ2KLossless))
    for series, syntax in kinds:
        for number, ds in enumerate(list(stack())[:3], 1):
            ds.SeriesInstanceUID, ds.SOPInstanceUID = UID(f"{STACK}.{series}"), UID(f"{STACK}.{series}.{number}")
            ds.SeriesNumber, ds.SeriesDescription = series, syntax.name
            if syntax == JPEGBaseline8Bit:
                ds.SOPClassUID, ds.Modality = UID(COMPUTED_RADIOGRAPHY), "CR"
                grey = (phantom(number) >> 3).clip(0, 255).astype(np.uint8)
                pixels(ds, grey)
                ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = 0, 128, 256
                yield part10(ds, syntax, [jpeg(grey)])
            elif syntax == JPEG2000Lossless:
                out = io.BytesIO()
                Image.fromarray(phantom(number)).save(out, format="JPEG2000", irreversible=False, no_jp2=True)
                yield part10(ds, syntax, [out.getvalue()])
            elif syntax == HTJ2KLossless:
                yield part10(ds, syntax, [bytes(imagecodecs.htj2k_encode(phantom(number), reversible=True))])
            else:
                ds.file_meta = FileMetaDataset()
                ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                ds.compress(syntax, generate_instance_uid=False)
                yield part10(ds)


def measurement(images: Sequence[Dataset]) -> Dataset:
    """A structured report (TID 1500) with the length of a line on the fourth slice."""
    image = images[3]
    author = hd.sr.PersonObserverIdentifyingAttributes(name="Reads^Somebody")
    context = hd.sr.ObservationContext(
        observer_person_context=hd.sr.ObserverContext(codes.DCM.Person, observer_identifying_attributes=author)
    )
    region = hd.sr.ImageRegion(
        hd.sr.GraphicTypeValues.POLYLINE,
        np.array([[60.0, 100.0], [130.0, 100.0]]),
        hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
    )
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=UID(f"{STACK}.98"), identifier="line"),
        referenced_region=region,
        finding_type=codes.SCT.Nodule,
        measurements=[hd.sr.Measurement(codes.SCT.Length, 70.0, codes.UCUM.Millimeter)],
    )
    report = hd.sr.MeasurementReport(
        observation_context=context, procedure_reported=codes.LN.CTUnspecifiedBodyRegion, imaging_measurements=[group]
    )
    return hd.sr.Comprehensive3DSR(
        evidence=[image],
        content=report,
        series_instance_uid=f"{STACK}.6",
        series_number=6,
        sop_instance_uid=f"{STACK}.6.1",
        instance_number=1,
        manufacturer="Fileroom",
        series_description="measurement",
        is_complete=True,
    )


def segmentation(images: Sequence[Dataset]) -> Dataset:
    """A segmentation of the lungs."""
    mask = np.stack([image.pixel_array < 400 for image in images])
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    mask &= np.hypot(x, y * 1.25) < 0.44
    algorithm = hd.AlgorithmIdentificationSequence("threshold", codes.DCM.ArtificialIntelligence, "1")
    lungs = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Lungs",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Lung,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(255, 0, 0),
    )
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[lungs],
        series_instance_uid=f"{STACK}.7",
        series_number=7,
        sop_instance_uid=f"{STACK}.7.1",
        instance_number=1,
        manufacturer="Fileroom",
        manufacturer_model_name="phantom",
        software_versions="1",
        device_serial_number="1",
        series_description="lungs",
    )


def enhanced_ct() -> bytes:
    """One object with a slice a frame."""
    ds = instance(FRAMES, 1, 1, ENHANCED_CT, "CT", PatientName="Frames^Many", PatientID="VIEW-2")
    ds.StudyDescription, ds.SeriesDescription, ds.AccessionNumber = "Multi-frame", "enhanced", "ACC-FRAMES"
    ds.NumberOfFrames, ds.FrameOfReferenceUID = SLICES, UID(f"{FRAMES}.99")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    measures = item(PixelSpacing=[1.0, 1.0], SliceThickness=3.0, SpacingBetweenSlices=3.0)
    shared = item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelValueTransformationSequence=[item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU")],
        FrameVOILUTSequence=[item(WindowCenter=40, WindowWidth=900)],
    )
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-96, -96, number * 3.0])],
            FrameContentSequence=[item(InStackPositionNumber=number, StackID="1", DimensionIndexValues=[1, number])],
        )
        for number in range(1, SLICES + 1)
    ]
    pixels(ds, np.stack([phantom(number) for number in range(1, SLICES + 1)]), stored=12)
    return part10(ds)


def cine() -> bytes:
    """Ultrasound that moves, thirty JPEG frames."""
    ds = instance(FRAMES, 2, 1, ULTRASOUND_CINE, "US", PatientName="Frames^Many", PatientID="VIEW-2")
    ds.StudyDescription, ds.SeriesDescription, ds.AccessionNumber = "Multi-frame", "cine", "ACC-FRAMES"
    ds.NumberOfFrames, ds.FrameTime, ds.CineRate, ds.FrameIncrementPointer = 30, 33.3, 30, 0x00181063
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    frames = [jpeg(colours(number, 320, 240)) for number in range(30)]
    pixels(ds, colours(0, 320, 240), photometric="YBR_FULL_422")
    return part10(ds, JPEGBaseline8Bit, frames)


def item(**values: object) -> Dataset:
    """An item of a sequence."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    return item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def slide() -> Iterator[bytes]:
    """A slide in three levels, tiles of JPEG (TILED_FULL)."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for level, (width, height) in enumerate(((2048, 1536), (1024, 768), (512, 384)), 1):
        ds = instance(PATHOLOGY, 1, level, SLIDE, "SM", PatientName="Slide^Stained", PatientID="VIEW-3")
        ds.StudyDescription, ds.SeriesDescription, ds.AccessionNumber = "Biopsy", "slide", "ACC-SLIDE"
        ds.ImageType = [
            "ORIGINAL" if level == 1 else "DERIVED",
            "PRIMARY",
            "VOLUME",
            "NONE" if level == 1 else "RESAMPLED",
        ]
        ds.FrameOfReferenceUID, ds.ContainerIdentifier = UID(f"{PATHOLOGY}.99"), "SLIDE-1"
        ds.VolumetricProperties, ds.SpecimenLabelInImage, ds.BurnedInAnnotation = "VOLUME", "NO", "NO"
        ds.FocusMethod, ds.ExtendedDepthOfField, ds.LossyImageCompression = "AUTO", "NO", "01"
        ds.DimensionOrganizationType, ds.NumberOfOpticalPaths, ds.TotalPixelMatrixFocalPlanes = "TILED_FULL", 1, 1
        ds.TotalPixelMatrixColumns, ds.TotalPixelMatrixRows = width, height
        ds.ImagedVolumeWidth, ds.ImagedVolumeHeight, ds.ImagedVolumeDepth = 2.048, 1.536, 1.0
        ds.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
        origin = item(XOffsetInSlideCoordinateSystem=20, YOffsetInSlideCoordinateSystem=40)
        ds.TotalPixelMatrixOriginSequence = [origin]
        spacing = 2.048 / width
        measures = item(PixelSpacing=[round(spacing, 6)] * 2, SliceThickness=0.001)
        ds.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[measures])]
        path = item(OpticalPathIdentifier="1", OpticalPathDescription="Brightfield", ICCProfile=srgb)
        path.IlluminationTypeCodeSequence = [code("111744", "DCM", "Brightfield illumination")]
        path.IlluminationColorCodeSequence = [code("414298005", "SCT", "Full Spectrum")]
        ds.OpticalPathSequence = [path]
        ds.SpecimenDescriptionSequence = [item(SpecimenIdentifier="S1", SpecimenUID=UID(f"{PATHOLOGY}.98"))]
        whole = colours(7, width, height)
        tiles = tiled(whole)
        ds.NumberOfFrames = len(tiles)
        pixels(ds, np.ascontiguousarray(whole[:256, :256]), photometric="YBR_FULL_422")
        yield part10(ds, JPEGBaseline8Bit, tiles)


def tiled(whole: NDArray[np.uint8]) -> list[bytes]:
    """The tiles of a level; those at its edges are filled up."""
    rows, columns = -whole.shape[0] % 256, -whole.shape[1] % 256
    filled = np.pad(whole, ((0, rows), (0, columns), (0, 0)), constant_values=255)
    return [
        jpeg(np.ascontiguousarray(filled[y : y + 256, x : x + 256]))
        for y in range(0, filled.shape[0], 256)
        for x in range(0, filled.shape[1], 256)
    ]


def ecg() -> bytes:
    """Twelve leads."""
    ds = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(PAPERS), UID(f"{PAPERS}.1")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{PAPERS}.1.1")
    ds.PatientName, ds.PatientID, ds.AccessionNumber = "Papers^Mixed", "VIEW-4", "ACC-PAPERS"
    ds.StudyDate, ds.StudyTime, ds.StudyDescription, ds.Modality = "20240229", "101500", "ECG and letter", "ECG"
    return part10(ds)


def letter() -> bytes:
    """A PDF in an object."""
    out = io.BytesIO()
    Image.fromarray(colours(1, 400, 500)).save(out, format="PDF")
    ds = instance(PAPERS, 2, 1, PDF, "DOC", PatientName="Papers^Mixed", PatientID="VIEW-4")
    ds.StudyDescription, ds.SeriesDescription, ds.AccessionNumber = "ECG and letter", "letter", "ACC-PAPERS"
    ds.ConversionType, ds.BurnedInAnnotation, ds.DocumentTitle = "SD", "NO", "Letter"
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.EncapsulatedDocument = out.getvalue() + bytes(len(out.getvalue()) % 2)
    return part10(ds)


def everything() -> Iterable[bytes]:
    """All files."""
    images = list(stack())
    for image in images:
        yield part10(image)
    yield from compressed_stacks()
    yield part10(measurement(images))
    yield part10(segmentation(images))
    yield enhanced_ct()
    yield cine()
    yield from slide()
    yield ecg()
    yield letter()
