"""Table: the storage classes for which a C-GET proposes contexts when nobody says which will come: the usual ones,
since an association has room for no more (PS3.4 B.5)."""

from __future__ import annotations

_ROOT = "1.2.840.10008.5.1.4.1.1."
STORAGE_CLASSES = (
    _ROOT + "1",  # Computed Radiography Image Storage
    _ROOT + "1.1",  # Digital X-Ray Image Storage - For Presentation
    _ROOT + "1.1.1",  # Digital X-Ray Image Storage - For Processing
    _ROOT + "1.2",  # Digital Mammography X-Ray Image Storage - For Presentation
    _ROOT + "1.2.1",  # Digital Mammography X-Ray Image Storage - For Processing
    _ROOT + "1.3",  # Digital Intra-Oral X-Ray Image Storage - For Presentation
    _ROOT + "1.3.1",  # Digital Intra-Oral X-Ray Image Storage - For Processing
    _ROOT + "2",  # CT Image Storage
    _ROOT + "2.1",  # Enhanced CT Image Storage
    _ROOT + "3.1",  # Ultrasound Multi-frame Image Storage
    _ROOT + "4",  # MR Image Storage
    _ROOT + "4.1",  # Enhanced MR Image Storage
    _ROOT + "4.2",  # MR Spectroscopy Storage
    _ROOT + "6.1",  # Ultrasound Image Storage
    _ROOT + "6.2",  # Enhanced US Volume Storage
    _ROOT + "7",  # Secondary Capture Image Storage
    _ROOT + "7.1",  # Multi-frame Single Bit Secondary Capture Image Storage
    _ROOT + "7.2",  # Multi-frame Grayscale Byte Secondary Capture Image Storage
    _ROOT + "7.3",  # Multi-frame Grayscale Word Secondary Capture Image Storage
    _ROOT + "7.4",  # Multi-frame True Color Secondary Capture Image Storage
    _ROOT + "9.1.1",  # 12-lead ECG Waveform Storage
    _ROOT + "9.1.2",  # General ECG Waveform Storage
    _ROOT + "9.1.3",  # Ambulatory ECG Waveform Storage
    _ROOT + "11.1",  # Grayscale Softcopy Presentation State Storage
    _ROOT + "11.2",  # Color Softcopy Presentation State Storage
    _ROOT + "12.1",  # X-Ray Angiographic Image Storage
    _ROOT + "12.1.1",  # Enhanced XA Image Storage
    _ROOT + "12.2",  # X-Ray Radiofluoroscopic Image Storage
    _ROOT + "12.2.1",  # Enhanced XRF Image Storage
    _ROOT + "13.1.1",  # X-Ray 3D Angiographic Image Storage
    _ROOT + "13.1.3",  # Breast Tomosynthesis Image Storage
    _ROOT + "20",  # Nuclear Medicine Image Storage
    _ROOT + "30",  # Parametric Map Storage
    _ROOT + "66",  # Raw Data Storage
    _ROOT + "66.1",  # Spatial Registration Storage
    _ROOT + "66.3",  # Deformable Spatial Registration Storage
    _ROOT + "66.4",  # Segmentation Storage
    _ROOT + "66.5",  # Surface Segmentation Storage
    _ROOT + "67",  # Real World Value Mapping Storage
    _ROOT + "77.1.1",  # VL Endoscopic Image Storage
    _ROOT + "77.1.1.1",  # Video Endoscopic Image Storage
    _ROOT + "77.1.2",  # VL Microscopic Image Storage
    _ROOT + "77.1.4",  # VL Photographic Image Storage
    _ROOT + "77.1.5.1",  # Ophthalmic Photography 8 Bit Image Storage
    _ROOT + "77.1.5.4",  # Ophthalmic Tomography Image Storage
    _ROOT + "77.1.6",  # VL Whole Slide Microscopy Image Storage
    _ROOT + "88.11",  # Basic Text SR Storage
    _ROOT + "88.22",  # Enhanced SR Storage
    _ROOT + "88.33",  # Comprehensive SR Storage
    _ROOT + "88.34",  # Comprehensive 3D SR Storage
    _ROOT + "88.50",  # Mammography CAD SR Storage
    _ROOT + "88.59",  # Key Object Selection Document Storage
    _ROOT + "88.67",  # X-Ray Radiation Dose SR Storage
    _ROOT + "88.71",  # Acquisition Context SR Storage
    _ROOT + "104.1",  # Encapsulated PDF Storage
    _ROOT + "128",  # Positron Emission Tomography Image Storage
    _ROOT + "130",  # Enhanced PET Image Storage
    _ROOT + "481.1",  # RT Image Storage
    _ROOT + "481.2",  # RT Dose Storage
    _ROOT + "481.3",  # RT Structure Set Storage
    _ROOT + "481.5",  # RT Plan Storage
    _ROOT + "481.8",  # RT Ion Plan Storage
    _ROOT + "481.4",  # RT Beams Treatment Record Storage
)
