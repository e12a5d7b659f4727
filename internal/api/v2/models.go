// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"horde/internal/api/schema"
	"horde/internal/horde"
)

// models are the names of types in the documents, where they differ from those in Go: generated clients are full of the
// reference's names.
var models = []schema.Model{
	schema.Named[horde.ImageSubmission]("GenerationInputStable"),
	schema.Named[horde.ImageSettings]("ModelGenerationInputStable", "ModelPayloadRootStable", "ModelPayloadStyleStable"),
	schema.Named[horde.LoraSettings]("ModelPayloadLorasStable"),
	schema.Named[horde.TISettings]("ModelPayloadTextualInversionsStable"),
	schema.Named[horde.TextSubmission]("GenerationInputKobold"),
	schema.Named[horde.TextSettings]("ModelGenerationInputKobold", "ModelPayloadRootKobold", "ModelPayloadStyleKobold"),
	schema.Named[horde.Polling]("PopInput"),
	schema.Named[horde.ImagePop]("PopInputStable"),
	schema.Named[horde.TextPop]("PopInputKobold"),
	schema.Named[horde.Delivery]("SubmitInput"),
	schema.Named[horde.ImageDelivery]("SubmitInputStable"),
	schema.Named[horde.TextDelivery]("SubmitInputKobold"),
	schema.Named[horde.ImageMetadata]("GenerationMetadataStable"),
	schema.Named[horde.TextMetadata]("GenerationMetadataKobold"),
	schema.Named[horde.Warning]("RequestSingleWarning"),
	schema.Named[horde.WorkerChange]("ModifyWorkerInput"),
	schema.Named[horde.UserChange]("ModifyUserInput"),
	schema.Named[horde.ModesChange](""),
	schema.Named[horde.TeamChange]("ModifyTeamInput"),

	schema.Named[horde.AlchemySubmission]("ModelInterrogationInputStable"),
	schema.Named[horde.FormSubmission]("ModelInterrogationFormStable"),
	schema.Named[horde.AlchemyPop]("InterrogationPopInput"),
	schema.Named[horde.AlchemyDelivery](""),
	schema.Named[interrogationAccepted]("RequestInterrogationResponse"),
	schema.Named[formStatus]("InterrogationFormStatus"),
	schema.Named[alchemyPopped]("InterrogationPopPayload"),
	schema.Named[poppedForm]("InterrogationPopFormPayload"),
	schema.Named[alchemySkipped]("NoValidInterrogationsFound"),

	schema.Named[requestStatusImage]("RequestStatusStable"),
	schema.Named[requestStatusText]("RequestStatusKobold"),
	schema.Named[imageGeneration]("GenerationStable"),
	schema.Named[textGeneration]("GenerationKobold"),
	schema.Named[imageJob]("GenerationPayloadStable"),
	schema.Named[imagePayload]("ModelPayloadStable", "ModelPayloadRootStable"),
	schema.Named[textJob]("GenerationPayloadKobold"),
	schema.Named[textPayload]("ModelPayloadKobold", "ModelPayloadRootKobold", "ModelPayloadStyleKobold"),
	schema.Named[jobExtraSource]("ExtraSourceImage"),
	schema.Named[popMessage]("ResponseModelMessagePop"),
	schema.Named[skipped]("NoValidRequestFound"),
	schema.Named[imageSkipped]("NoValidRequestFoundStable"),
	schema.Named[textSkipped]("NoValidRequestFoundKobold"),
	schema.Named[performance]("HordePerformance"),
	schema.Named[modes]("HordeModes"),
	schema.Named[userPublic](""),
	schema.Named[kudosDetails]("UserKudosDetails"),
	schema.Named[records]("UserRecords"),
	schema.Named[thingRecords]("UserThingRecords"),
	schema.Named[amountRecords]("UserAmountRecords"),
	schema.Named[usage]("UsageDetails"),
	schema.Named[contributions]("ContributionsDetails"),
	schema.Named[activeGenerations]("UserActiveGenerations"),
	schema.Named[styleShort]("ResponseModelStylesShort"),
	schema.Named[userStyle]("ResponseModelStylesUser"),
	schema.Named[userChanged]("ModifyUser"),
	schema.Named[done]("SimpleResponse"),
	schema.Named[workerMessage]("ResponseModelMessage"),
	schema.Named[team]("TeamDetailsLite"),
	schema.Named[workerChanged]("ModifyWorker"),
	schema.Named[recordedImage]("GenerationSubmittedStable"),
	schema.Named[recordedText]("GenerationSubmittedKobold"),
	schema.Named[recordedRequest](""),
	schema.Named[samplerConstraints]("SamplerConstraintsDocument"),
	schema.Named[nothing](""),
}
