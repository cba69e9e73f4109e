"""What a tensor is: element types that numpy lacks, constants among weights, values that half precision holds."""
