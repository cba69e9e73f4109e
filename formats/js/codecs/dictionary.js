/** The dictionary of the codec deflate (SPEC.md, 6.6). */

// prettier-ignore
const TEXT =
  "dilationsgroupkernel_shapepadsstridesceil_modecount_include_padauto_padaxiskeepdimsepsilonmomentumal" +
  "phabetatransAtransBpermtovaluemodehidden_sizedirectionactivationsConvConvTransposeMatMulGemmLSTMGRUC" +
  "onstantGatherSliceConcatReshapeTransposeUnsqueezeSqueezeSoftmaxSigmoidTanhMulDivSubAddPadClipReduceM" +
  "eanMaxPoolAveragePoolGlobalAveragePoolFlattenReluBatchNormalizationai.onnxinputxoutputylogitsmodel.f" +
  "eatures.0.weightclassifier.bn1.weight.running_mean.running_var.num_batches_trackedlayer1.0.conv1.lay" +
  "er2.downsample.shortcut.linear.in_proj_.out_proj.embeddings.attention.self.query.key.dense.LayerNorm" +
  ".encoder.layer.kernel:0_bias:0_fc1.fc2.fc3.conv1.weightconv2.bias{\"accuracy\":{},\"accuracy\":{\"decoded" +
  "\":98.15,\"original\":97.81,\"pruned\":90.0,\"shared\":97.,\"tuned\":97.},\"agreement\":{\"centred\":0.99,\"cosine" +
  "\":0.99,\"inputs\":\"8 generated inputs, seed 0: (normal), and 128 in whose steps is carried on\",\"max_ab" +
  "s_error\":0.1,\"outputs\":[{\"centred\":0.9,\"cosine\":0.99,\"equal\":null,\"max_abs_error\":1.,\"name\":\"logits\"" +
  ",\"not_finite\":0,\"other_shape\":0,\"positions\":0,\"rare\":null,\"top1\":100.0,\"unmeasured\":null}],\"runs\":8," +
  "\"top1\":null},\"arch\":\"resnet18\",\"arch\":\"Sequential\",\"batch_norms\":{\"layer1.0.bn1\":1e-05},\"calibration" +
  "\":\"512 inputs of npz: without their labels, seed 0\",\"calibration\":\"256 images made from the statisti" +
  "cs of its batch norms, seed 0\",\"calibration\":\"384 generated inputs, seed 0: \",\"data\":null,\"data\":\"ci" +
  "far10:\",\"data\":\"npz:mnist.npz\",\"graph\":\"original\",\"input_shape\":[3,32,32],\"input_shape\":[1,28,28],\"n" +
  "um_classes\":10,\"preprocessing\":{\"channels\":3,\"mean\":[0.485,0.456,0.406],\"size\":[224,224],\"std\":[0.22" +
  "9,0.224,0.225]},\"preprocessing\":{\"channels\":3,\"mean\":[0.4914,0.4822,0.4465],\"size\":[32,32],\"std\":[0." +
  "2023,0.1994,0.201]},\"preprocessing\":{\"channels\":1,\"mean\":[0.1307],\"size\":[28,28],\"std\":[0.3081]},\"pr" +
  "uning\":{\"kept_share\":0.,\"method\":\"energy\",\"parameters\":100,\"parameters_kept\":10,\"parameters_left\":10" +
  ",\"unit\":\"filter\"},\"qacomp\":\"0.1.0\",\"settings\":\"k = 16\\nmin_size = 1\\nscope = \\\"all\\\"\\nsharing = \\\"ra" +
  "te\\\"\\nsharing = \\\"straight-through\\\"\\nsharing = \\\"after\\\"\\nrounding = \\\"balanced\\\"\\nrounding = \\\"nea" +
  "rest\\\"\\nstored_precision = \\\"exact\\\"\\nquality = \\\"balanced\\\"\\ntarget_size = \\\"66000\\\"\\ncalibration =" +
  " \\\"npz:/\\\"\\nreg = \\\"exp\\\"\\ndistill = \\\"kd\\\"\\ndistill = \\\"kd:temperature=2,weight=0.9\\\"\\ndistill = \\\"" +
  "none\\\"\\nepochs = 0\\ntune_epochs = 0\\ntune_epochs = 1\\nbatch_size = 64\\nlr = 0.001\\naugment = \\\"crop-" +
  "flip\\\"\\naugment = \\\"none\\\"\\nseed = 1\\nprecision = \\\"fp32\\\"\\narch = \\\"resnet20\\\"\\narch = \\\"lenet300\\\"" +
  "\\narch = \\\"lenet5\\\"\\ndata = \\\"digits\\\"\\ndata = \\\"npz:/data/mnist.npz\\\"\\n\\n[k_layers]\\n\",\"source\":{\"b" +
  "ytes\":10,\"fp32_bytes\":10,\"kind\":\"state_dict\",\"kind\":\"module\",\"kind\":\"pytorch\",\"kind\":\"safetensors\",\"" +
  "kind\":\"onnx\",\"kind\":\"qacomp\",\"sha256\":\"\",\"tensor_bytes\":10},\"submodels\":{\"\":{\"accuracy\":90.,\"macs\":1" +
  "000,\"parameters\":1000}},\"trained\":\"no: output distance 0.1213 trained on 224 inputs, by 32 others, 0" +
  ".0962 untrained\",\"verdict\":\"not measured\",\"verdict\":\"doubtful\",\"verdict\":\"good\",\"verdict_advice\":\"--" +
  "data with inputs of your own\",\"verdict_advice\":\"a larger --target-size or --exclude \",\"verdict_advic" +
  "e\":\"--k 16 or --exclude \",\"verdict_advice\":\"\",\"verdict_reasons\":[\"no outputs were compared\",\"largest" +
  " error of a tensor -19.9 dB (its weights' own, .weight)\"],\"verdict_reasons\":[\"logits: cosine of cent" +
  "red outputs 0.99\",\"the operators' errors add up to -16.7 dB\"]}\",\"verdict_reasons\":[\"accuracy 99.11 -" +
  "> 99.02 %\"]}";

export const DICTIONARY = Uint8Array.from(TEXT, (c) => c.charCodeAt(0));
